"""omega: ask a server about pictures, from the command line.

    omega chat URL [PICTURE ...] QUESTION   ask, and print the answer while it comes
    omega models URL                        which models the server has
    omega bench URL [FLAGS]                 put load on it, and measure it

The key comes from the environment variable OMEGA_API_KEY. Exit code 2 is the user's fault, with one line that says what to
do; 1 is the server's.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from omega_server import __version__
from omega_server.client import chat, models, program
from omega_server.client.server import ClientError, Server

COMMANDS = {"chat": chat, "models": models}
HELP = ("-h", "--help", "help")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ClientError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    return program.run(_run, argv)


def _run(arguments: list[str]) -> None:
    command = arguments.pop(0) if arguments else "no command"
    if command in HELP:
        print(__doc__)
    elif command == "--version":
        print(f"omega {__version__}")
    elif command == "bench":
        _bench(arguments)
    elif command in COMMANDS:
        # Intermixed: flags may stand between pictures and question.
        options = _parser(command).parse_intermixed_args(arguments)
        server = Server(options.url, os.environ.get("OMEGA_API_KEY") or None, options.timeout)
        COMMANDS[command].run(server, options)
    else:
        raise ClientError(f"{command}: commands are chat, models and bench; see omega --help")


def _bench(arguments: Sequence[str]) -> None:
    from omega_server.bench.command import BenchError, bench  # noqa: PLC0415 - it needs more than the standard library

    try:
        print(bench(arguments, program="omega bench"))
    except BenchError as error:
        raise ClientError(str(error), error.code) from None


def _parser(command: str) -> argparse.ArgumentParser:
    module = COMMANDS[command]
    parser = _Parser(
        prog=f"omega {command}",
        usage=f"omega {command} URL {module.USAGE}".rstrip(),
        description=module.DESCRIPTION,
        epilog="The API key comes from the environment variable OMEGA_API_KEY.",
        allow_abbrev=False,
    )
    parser.add_argument("url", metavar="URL", help="of the server, such as http://127.0.0.1:8000")
    module.add_arguments(parser)
    text = "longest silence (default: 600 seconds)"
    parser.add_argument("--timeout", type=_seconds, default=600.0, metavar="S", help=text)
    return parser


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError("must be a number above 0, in seconds")
    return value


if __name__ == "__main__":
    sys.exit(main())
