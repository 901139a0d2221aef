"""The router's end of one engine's process: starts it, writes to it and reads from it without holding up the loop.

Two threads stand between the asyncio loop and the pipe, for starting, writing and reading may all block. The reading
thread also watches the process itself, so that its death is noticed at once.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable

from omega_server.engine.memory_file import MemoryFile
from omega_server.engine.messages import Abort, Outputs, Ready, Refused, Stop, Submit, Update, WorkerConfig
from omega_server.forks import Forked

logger = logging.getLogger(__name__)

_Outgoing = tuple[Submit | Abort | Update | Stop, MemoryFile | None]


class EngineProcess:
    """A process of its own, which has a CUDA context and a Python interpreter of its own and can be killed."""

    def __init__(
        self,
        config: WorkerConfig,
        on_message: Callable[[Ready | Refused | Outputs], None],
        on_end: Callable[[int | None], None],
    ) -> None:
        """Start the process. Call it in the loop; it returns before the process runs.

        Args:
            config: of the engine.
            on_message: called in the loop with each message, in order.
            on_end: called in the loop once, after the last message, with the exit code; None if it never started.
        """
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._on_end = on_end
        self._outbox: queue.SimpleQueue[_Outgoing | None] = queue.SimpleQueue()
        self._process = Forked("omega_server.engine.worker", config, name=f"omega-engine-{config.index}")
        self._writing, self._reading = (
            threading.Thread(target=target, name=f"engine-{config.index}-{target.__name__}", daemon=True)
            for target in (self._write, self._run)
        )
        self._reading.start()

    @property
    def pid(self) -> int | None:
        """Process id, once it is started."""
        return self._process.pid

    def send(self, message: Submit | Abort | Update | Stop, pixels: MemoryFile | None = None) -> None:
        """Send a message, and the pixels of a Submit. Returns at once; what is sent to a dead process is lost."""
        self._outbox.put((message, pixels))

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    async def stop(self, seconds: float) -> None:
        """End the process, in peace if it takes no longer than so many seconds."""
        self.send(Stop())
        await asyncio.to_thread(self._reading.join, seconds)
        self.kill()
        await asyncio.to_thread(self._reading.join)

    def _write(self) -> None:
        try:
            while (outgoing := self._outbox.get()) is not None:
                message, pixels = outgoing
                self._process.pipe.send(message)
                if pixels is not None:
                    pixels.send(self._process.pipe)
        except ConnectionError:
            # The pipe is closed. The reading thread sees that too, and reports the end.
            return
        except Exception:
            logger.exception("engine process %s cannot be written to", self.pid)
            self.kill()  # what is lost would be waited for in vain

    def _run(self) -> None:
        try:
            self._process.start()
        except OSError as error:
            logger.error("a process for an engine cannot be started: %s", error)
        else:
            self._writing.start()
            self._read()
            self._outbox.put(None)
            self._writing.join()
        code = self._process.join()
        self._process.pipe.close()
        self._loop.call_soon_threadsafe(self._on_end, code)

    def _read(self) -> None:
        try:
            while self._process.wait():
                self._loop.call_soon_threadsafe(self._on_message, self._process.pipe.recv())
        except (EOFError, ConnectionError):
            self.kill()  # without its pipe it is of no use
        except Exception:
            logger.exception("engine process %s cannot be read from", self.pid)
            self.kill()
