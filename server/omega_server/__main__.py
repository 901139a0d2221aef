"""omega-server: the command line.

    omega-server [serve] [flags]   serve a model
    omega-server download [flags]  fetch a model from the Hugging Face Hub
    omega-server convert A B       copy a mixture-of-experts model into the layout that tensor parallelism needs
    omega-server bench URL [flags] put load on a server with the OpenAI API, and measure it

Exit code 2 is the user's fault, with one line that says what to do; 1 is ours.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

TERMINATION_LOG = Path("/dev/termination-log")
"""Where Kubernetes reads why a container ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "serve"
    if command == "serve":
        return _serve(arguments)
    if command == "download":
        return _download(arguments)
    if command == "convert":
        return _convert(arguments)
    if command == "bench":
        return _bench(arguments)
    return fail(f'there is no command "{command}"; commands are serve, download, convert and bench')


def fail(reason: str, code: int = 2) -> int:
    """Say why this process ends, to people and to Kubernetes."""
    line = f"omega-server: {reason}"
    print(line, file=sys.stderr, flush=True)
    # Outside Kubernetes there is no such file, and creating one in /dev would be wrong.
    if TERMINATION_LOG.is_file():
        TERMINATION_LOG.write_text(line)
    return code


def _serve(arguments: Sequence[str]) -> int:
    from omega_server import forks  # noqa: PLC0415 - the processes that are forked read this file again, and need none of it

    forks.begin()  # it takes seconds, in which this process prepares itself and begins to listen
    from omega_server import settings  # noqa: PLC0415

    try:
        chosen = settings.read(arguments)
    except settings.SettingsError as error:
        return fail(str(error))
    from omega_server.process import CannotServe, run  # noqa: PLC0415

    try:
        run(chosen)
    except CannotServe as error:
        return fail(str(error), error.code)
    return 0


def _download(arguments: Sequence[str]) -> int:
    from omega_server.download.command import download  # noqa: PLC0415
    from omega_server.download.errors import DownloadError  # noqa: PLC0415

    try:
        print(download(arguments))
    except DownloadError as error:
        return fail(str(error), error.code)
    return 0


def _convert(arguments: Sequence[str]) -> int:
    from omega_server.model.convert import convert  # noqa: PLC0415
    from omega_server.model.experts_layout import ConvertError  # noqa: PLC0415

    try:
        print(convert(arguments))
    except ConvertError as error:
        return fail(str(error), error.code)
    return 0


def _bench(arguments: Sequence[str]) -> int:
    from omega_server.bench.command import BenchError, bench  # noqa: PLC0415

    try:
        print(bench(arguments))
    except BenchError as error:
        return fail(str(error), error.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
