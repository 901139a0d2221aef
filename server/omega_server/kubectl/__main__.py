"""kubectl omega: OmegaVLMDeployments, for people who run them.

    kubectl omega status [NAME]                      how they are; with a name, everything about one
    kubectl omega why NAME                           why one is not ready, and what to do
    kubectl omega top [NAME] [--engines]             GPUs, queues and tokens per second of each replica
    kubectl omega chat NAME [PICTURE ...] QUESTION   ask it, and print the answer while it comes
    kubectl omega bench NAME [FLAGS]                 put load on one replica, and measure it

Each takes -n NAMESPACE, --context NAME and --kubeconfig FILE as kubectl does; status and top take -A for all namespaces. The API
key is read from the resource's Secret, unless OMEGA_API_KEY is set. Exit code 2 is the user's to correct, with one line that
says how; 1 is the cluster's or the server's.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from omega_server import __version__
from omega_server.client import chat, program
from omega_server.client.server import ClientError
from omega_server.kubectl import ask, status, top, why
from omega_server.kubectl.cluster import Cluster

LOOKS: dict[str, Any] = {"status": status, "why": why, "top": top}
EVERYWHERE = frozenset({"status", "top"})
COMMANDS = (*LOOKS, "chat", "bench")
HELP = ("-h", "--help", "help")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ClientError(f"{message}; see kubectl omega --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    return program.run(_run, argv)


def _run(arguments: list[str]) -> None:
    command = arguments.pop(0) if arguments else "no command"
    if command in HELP:
        print(__doc__)
    elif command == "--version":
        print(f"kubectl-omega {__version__}")
    elif command in LOOKS:
        module = LOOKS[command]
        parser = _parser(command, module.USAGE, module.DESCRIPTION, module.add_arguments)
        options = parser.parse_args(arguments)
        if command in EVERYWHERE and options.all_namespaces and options.name is not None:
            raise ClientError("a name is of one namespace: leave out -A")
        module.run(_cluster(options), options)
    elif command == "chat":
        parser = _parser(command, f"NAME {chat.USAGE}", chat.DESCRIPTION, _chat_arguments)
        # Intermixed: flags may stand between pictures and question.
        options = parser.parse_intermixed_args(arguments)
        ask.run_chat(_cluster(options), options)
    elif command == "bench":
        _bench(arguments)
    else:
        raise ClientError(f"{command}: commands are {', '.join(COMMANDS)}; see kubectl omega --help")


def _bench(arguments: list[str]) -> None:
    parser = _parser("bench", "NAME [FLAGS]", "Put load on one replica, and measure it.", None)
    options, flags = parser.parse_known_args(arguments)
    names = [word for word in flags[:1] if not word.startswith("-")]
    if not names and not {"-h", "--help"} & set(flags):
        raise ClientError("the name of a resource comes first: kubectl omega bench NAME; see kubectl omega --help")
    ask.run_bench(_cluster(options), "".join(names), options.namespace, flags[len(names) :])


def _chat_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of a resource")
    chat.add_arguments(parser)
    parser.set_defaults(timeout=600.0)


def _parser(
    command: str, usage: str, description: str, add: Callable[[argparse.ArgumentParser], None] | None
) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"kubectl omega {command}",
        usage=f"kubectl omega {command} {usage}",
        description=description,
        allow_abbrev=False,
        add_help=add is not None,
    )
    if add is not None:
        add(parser)
    if command in EVERYWHERE:
        parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.add_argument("-n", "--namespace", metavar="NAME", help="(default: kubectl's)")
    parser.add_argument("--context", metavar="NAME", help="(default: kubectl's)")
    parser.add_argument("--kubeconfig", metavar="FILE", help="(default: kubectl's)")
    return parser


def _cluster(options: argparse.Namespace) -> Cluster:
    given = {"--context": options.context, "--kubeconfig": options.kubeconfig}
    return Cluster([f"{flag}={value}" for flag, value in given.items() if value])


if __name__ == "__main__":
    sys.exit(main())
