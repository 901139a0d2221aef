"""Processes that need torch, for a process that must not.

Importing torch and transformers takes seconds and hundreds of megabytes. So it is done once, by one process, the fork
server, which has a single thread and touches no GPU; each process that needs them is forked from it, has them at once, and
shares their memory with the others. Who asks for such a process names what it runs, and never imports that.

multiprocessing's fork server does the work. It ends when the process that uses it and all that were forked have ended. One
that is stopped or hangs is noticed when somebody waits for it, and ended: it costs what its death would cost.
"""

import atexit
import contextlib
import importlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import connection, forkserver, get_context
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

HANG_SECONDS = 10.0
"""For which a fork server may do nothing though it is waited for."""

END_SECONDS = 2.0
"""For which a fork server whose pipes are closed may take to end."""

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["omega_server.preload"])

TUNABLES = "glibc.malloc.hugetlb=1"
"""What glibc is told in all of them: large pages for large memory, where the system lets a process ask for them. On the CPU,
weights in large pages are read in about a tenth less time. glibc looks at it when a program starts, so the fork server inherits it.
"""
os.environ.setdefault("GLIBC_TUNABLES", TUNABLES)

# multiprocessing looks at all processes when it starts one: how a process ended is told once, and to one thread.
_LOCK = threading.Lock()


@atexit.register
def _end_all() -> None:
    """End what is left. multiprocessing would wait for it after a SIGTERM, which these processes do not hear; and the fork
    server, which would notice by itself, may have seconds of imports before it.
    """
    for process in multiprocessing.active_children():
        process.kill()
    pid = _fork_server()
    if pid is not None and _state(pid) is not None:
        os.kill(pid, signal.SIGKILL)


def begin() -> None:
    """Have the fork server import, in the background, what will be needed soon. Returns at once."""
    with _LOCK:
        forkserver.ensure_running()


class Forked:
    """A process that runs `main(*arguments, pipe)` of a module.

    Attributes:
        pipe: our end of the pipe to it. The process must end when this is closed, for nobody is left to answer to then.
    """

    def __init__(self, module: str, *arguments: Any, name: str) -> None:
        """Prepare; `start` starts it."""
        self.pipe, self._theirs = _CONTEXT.Pipe()
        arguments = (module, *arguments, self._theirs)
        self._process = _CONTEXT.Process(target=_run, args=arguments, name=name, daemon=True)
        self._killed = False

    def start(self) -> None:
        """Start it. Takes as long as the fork server takes, seconds if that has to start too; call it in a thread.

        Raises:
            OSError: there is no room for another process, or the fork server ended.
        """
        try:
            with _LOCK, _watched():
                self._start()
        except EOFError as error:
            raise OSError("the fork server ended") from error
        finally:
            self._theirs.close()  # so that the pipe closes when the process ends
        if self._killed:
            self._process.kill()

    def _start(self) -> None:
        asked = _fork_server()
        try:
            self._process.start()
        except (EOFError, ConnectionError):
            if not _ends(asked):
                raise
            self._process.start()  # it was ending when it was asked, which nobody could see: now there is another

    @property
    def pid(self) -> int | None:
        """Process id, once it is started."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once, or as soon as it is started."""
        self._killed = True
        if self.pid is not None:
            self._process.kill()

    def wait(self) -> bool:
        """Wait for a message or the end; whether there is a message, or its pipe was closed."""
        connection.wait([self.pipe, self._process.sentinel])
        return self.pipe.poll()

    def join(self) -> int | None:
        """Wait for its end. Its exit code, or None if it never started."""
        if self.pid is None:
            return None
        while not connection.wait([self._process.sentinel], HANG_SECONDS):
            if _has_ended(self.pid):  # which the fork server should have told
                _end_fork_server()
        with _LOCK:
            self._process.join()
            return self._process.exitcode


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Meanwhile, end the fork server if it does nothing: whoever waits for it sees its pipe close."""
    over = threading.Event()
    threading.Thread(target=_watch, args=(over,), name="fork-server", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(over: threading.Event) -> None:
    before = None
    while not over.wait(HANG_SECONDS):
        pid = _fork_server()
        now = (pid, _ticks(pid))
        # One that imports, or reads from a slow disk, is at work.
        if now == before and _state(pid) != "D":
            _end_fork_server()
        before = now


def _end_fork_server() -> None:
    pid = _fork_server()
    if pid is not None and _state(pid) is not None:
        logger.error("the fork server does nothing; ending it, and the next one who needs it starts another")
        os.kill(pid, signal.SIGKILL)


def _ends(pid: int | None) -> bool:
    """Whether a fork server whose pipes are closed ends: the system closes them first."""
    until = time.monotonic() + END_SECONDS
    while not _has_ended(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return _has_ended(pid)


def _has_ended(pid: int | None) -> bool:
    """Whether there is no such process, or only its exit code is left."""
    return _state(pid) in (None, "Z")


def _fork_server() -> int | None:
    """Its process id. multiprocessing tells nobody."""
    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return pid


def _state(pid: int | None) -> str | None:
    """The letter that Linux has for what a process does; None if there is none."""
    return fields[0] if (fields := _fields(pid)) else None


def _ticks(pid: int | None) -> int | None:
    """Processor time of a process."""
    return sum(map(int, fields[11:13])) if (fields := _fields(pid)) else None


def _fields(pid: int | None) -> list[str]:
    """Of /proc/PID/stat, from the third on: the second may have anything in it."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def _run(module: str, *arguments: Any) -> None:
    importlib.import_module(module).main(*arguments)
