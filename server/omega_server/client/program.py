"""How a command for people ends: its exit code, and one line on what went wrong."""

import os
import sys
from collections.abc import Callable, Sequence

from omega_server.client.server import ClientError


def run(command: Callable[[list[str]], None], argv: Sequence[str] | None) -> int:
    """Run a command and return its exit code: 130 if it was interrupted, 1 if nobody reads any more.

    Args:
        command: gets its arguments; what it cannot do it raises as a ClientError, which tells the exit code.
        argv: the arguments; None: those of the process.
    """
    try:
        command(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except ClientError as error:
        print(f"omega: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who reads has seen enough. What is left in the buffer must not complain when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
