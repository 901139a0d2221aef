"""Other programs: run with their last lines shown, and quoted when they fail."""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from stages.console import DemoError

ROOT = Path(__file__).resolve().parents[2]
QUOTED_LINES = 15


def run(
    *command: str | Path,
    advice: str,
    show: Callable[[str], None] | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """The output of ``command``, standard output and standard error together, run in the checkout's root.

    Args:
        command: the program and its arguments.
        advice: what a reader can do if it fails.
        show: called with each line as it is written.
        environment: variables beside this process's own.
        stdin: what the program reads.

    Raises:
        DemoError: if it cannot be started or its exit code is not 0.
    """
    words = [str(word) for word in command]
    lines: list[str] = []
    try:
        with subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            if process.stdin and stdin is not None:
                process.stdin.write(stdin)
                process.stdin.close()
            for line in process.stdout or ():
                lines.append(line)
                if show:
                    show(line)
    except FileNotFoundError as error:
        raise DemoError(f"{words[0]} is not installed.", advice) from error
    if process.returncode:
        name = " ".join([Path(words[0]).name, *words[1:3]])
        quoted = "".join(deque(lines, QUOTED_LINES))
        raise DemoError(f"{name} ended with exit code {process.returncode}.", advice, quoted)
    return "".join(lines)


def succeeds(*command: str | Path, environment: Mapping[str, str] | None = None) -> bool:
    """Whether ``command`` can be run and exits with 0."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0
