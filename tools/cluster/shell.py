"""Other programs: run, and quoted when they fail."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STARTED = time.monotonic()


class ClusterError(Exception):
    """Something that stands in the way, said so that a reader knows what to do."""


def say(message: str) -> None:
    """Print a line of progress with the seconds since the start; standard output is for results."""
    print(f"[{time.monotonic() - STARTED:6.1f} s] {message}", file=sys.stderr, flush=True)


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """The standard output of ``command``.

    Raises:
        ClusterError: if it fails or takes longer than ``timeout`` seconds; ends with the last lines it wrote.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=cwd, env=env, input=stdin, timeout=timeout, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words)} did not end within {timeout:.0f} s") from error
    if done.returncode:
        raise ClusterError(f"{' '.join(words)} failed:\n{tail(done.stderr or done.stdout)}")
    return done.stdout


def succeeds(*command: str | Path) -> bool:
    """Whether ``command`` exits with 0."""
    words: Sequence[str] = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def tail(text: str, lines: int = 20) -> str:
    """The last ``lines`` lines of ``text``."""
    return "\n".join(text.strip().splitlines()[-lines:])


def write_if_changed(path: Path, text: str) -> None:
    """Have ``text`` in the file ``path``, which is left alone if it holds just that."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def wait_until(holds: Callable[[], bool], what: str, seconds: float, pause: float = 0.1) -> None:
    """Return when ``holds()``.

    Raises:
        ClusterError: when ``seconds`` have passed; says ``what`` was waited for.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(pause)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Keep everyone else who locks ``file`` waiting; the lock ends with its process at the latest."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that holds {file}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
