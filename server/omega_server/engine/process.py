"""The router's end of one engine's process: starts it, writes to it and reads from it without holding up the loop.

Two threads stand between the asyncio loop and the pipe: writing copies pixels and may block for a moment, and reading
blocks by nature. The reading thread also watches the process itself, so that its death is noticed at once.
"""

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Sequence
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle

from omega_server.engine import pixels
from omega_server.engine.messages import Abort, Outputs, Ready, Refused, Stop, Submit, Update, WorkerConfig
from omega_server.engine.request import Medium

_Outgoing = tuple[Submit | Abort | Update | Stop, Sequence[Medium]]


class EngineProcess:
    """A spawned process, which has a CUDA context and a Python interpreter of its own and can be killed."""

    def __init__(
        self,
        config: WorkerConfig,
        on_message: Callable[[Ready | Refused | Outputs], None],
        on_end: Callable[[int | None], None],
    ) -> None:
        """Start the process. Call it in the loop.

        Args:
            config: of the engine.
            on_message: called in the loop with each message, in order.
            on_end: called in the loop once, after the last message, with the exit code.
        """
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._on_end = on_end
        self._outbox: queue.SimpleQueue[_Outgoing | None] = queue.SimpleQueue()
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe(duplex=True)
        self._process = context.Process(
            target=_main, args=(config, theirs), name=f"omega-engine-{config.index}", daemon=True
        )
        self._process.start()
        theirs.close()  # so that the pipe closes when the process ends
        self._threads = [
            threading.Thread(target=target, name=f"engine-{config.index}-{target.__name__}", daemon=True)
            for target in (self._write, self._read)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process.pid is not None
        return self._process.pid

    def send(self, message: Submit | Abort | Update | Stop, media: Sequence[Medium] = ()) -> None:
        """Send a message, and the pixels of a Submit. Returns at once; what is sent to a dead process is lost."""
        self._outbox.put((message, media))

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    async def stop(self, seconds: float) -> None:
        """End the process, in peace if it takes no longer than so many seconds."""
        self.send(Stop())
        await asyncio.to_thread(self._process.join, seconds)
        self.kill()
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        try:
            while (outgoing := self._outbox.get()) is not None:
                message, media = outgoing
                self._pipe.send(message)
                if media:
                    descriptor = pixels.share(media)
                    try:
                        send_handle(self._pipe, descriptor, self._process.pid)
                    finally:
                        os.close(descriptor)
        except OSError:
            # The pipe is closed. The reading thread sees that too, and reports the end.
            return

    def _read(self) -> None:
        try:
            while True:
                connection.wait([self._pipe, self._process.sentinel])
                if not self._pipe.poll():
                    break
                self._loop.call_soon_threadsafe(self._on_message, self._pipe.recv())
        except (EOFError, OSError):
            self._process.kill()  # without its pipe it is of no use
        self._process.join()
        self._outbox.put(None)
        self._threads[0].join()
        self._pipe.close()
        self._loop.call_soon_threadsafe(self._on_end, self._process.exitcode)


def _main(config: WorkerConfig, pipe: Connection) -> None:
    """What the new process runs."""
    # Only here: it imports transformers, which costs seconds that the router need not pay.
    from omega_server.engine import worker  # noqa: PLC0415

    worker.main(config, pipe)
