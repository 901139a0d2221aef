"""Processes that need torch, for a process that must not.

Importing torch and transformers takes seconds and hundreds of megabytes. So it is done once, by one process, the fork
server, which has a single thread and touches no GPU; each process that needs them is forked from it, has them at once, and
shares their memory with the others. Who asks for such a process names what it runs, and never imports that.

multiprocessing's fork server does the work. It ends when the process that uses it and all that were forked have ended.
"""

import atexit
import importlib
import multiprocessing
import os
import threading
from multiprocessing import connection, forkserver, get_context
from typing import Any

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
    """End what is left. multiprocessing would wait for it after a SIGTERM, which these processes do not hear."""
    for process in multiprocessing.active_children():
        process.kill()


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
            with _LOCK:
                self._process.start()
        except EOFError as error:
            raise OSError("the fork server ended") from error
        finally:
            self._theirs.close()  # so that the pipe closes when the process ends
        if self._killed:
            self._process.kill()

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
        connection.wait([self._process.sentinel])
        with _LOCK:
            self._process.join()
            return self._process.exitcode


def _run(module: str, *arguments: Any) -> None:
    importlib.import_module(module).main(*arguments)
