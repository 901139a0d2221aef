"""The life of a serving process: listen, load, serve, drain, end."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
import uvloop

from omega_server import logs
from omega_server.app import create_app
from omega_server.http_protocol import BoundedHttp, Doorway
from omega_server.logs import Lines
from omega_server.model.checkpoint import ModelError
from omega_server.serving import Serving
from omega_server.settings import Settings
from omega_server.websocket import BoundedSocket

logger = logging.getLogger(__name__)

SWITCH = 0.001
"""Seconds after which a thread that computes gives way to the event loop; Python's own is five times as long."""


class CannotServe(Exception):  # noqa: N818 - what happened
    """The server did not come up. The text is one line for the person who started it.

    Attributes:
        code: exit code: 2 for that person's fault, 1 for ours.
    """

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which would stop listening before anybody knew."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to us."""
        yield

    def hang_up(self, seconds: int) -> None:
        """Close the HTTP connections that nothing is answered on, and each other one so many seconds after its answer.

        WebSockets end by themselves when their answers have ended.
        """
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedHttp):
                connection.last_call(seconds)


def run(settings: Settings) -> None:
    """Serve until told to stop.

    Raises:
        CannotServe: the server did not come up.
    """
    logs.set_up(Lines(settings.log_format))
    sys.setswitchinterval(SWITCH)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))


async def _run(settings: Settings) -> None:
    serving = Serving(settings)
    config = uvicorn.Config(
        create_app(serving),
        log_config=None,
        access_log=False,
        http=Doorway,  # type: ignore[arg-type] # which is a protocol, too
        ws=BoundedSocket,
        ws_per_message_deflate=False,  # a small message must not become a large one
        lifespan="off",
        server_header=False,
        timeout_keep_alive=75,
    )
    serving.live.subscribe(lambda _: setattr(config, "ws_max_size", serving.max_body))
    server = _Server(config)
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    listening = asyncio.create_task(server.serve(sockets=[_listen(settings)]))
    watching = asyncio.create_task(serving.watch())
    try:
        await _until_told(serving, server, told, {listening, watching})
    finally:
        await serving.stop()
        # An answer that is complete may still be on its way to a slow reader.
        config.timeout_graceful_shutdown = serving.drain_left
        server.should_exit = True
        watching.cancel()
        await asyncio.gather(listening, watching, return_exceptions=True)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise CannotServe(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}", 2) from error
    logger.info("listening on %s port %d", settings.host, listener.getsockname()[1])
    return listener


async def _until_told(serving: Serving, server: _Server, told: asyncio.Event, always: set[asyncio.Task[None]]) -> None:
    """Load and serve until told to stop, then drain. `always` are tasks that must not end before."""
    stopping = asyncio.create_task(told.wait())
    starting = asyncio.create_task(serving.start())
    await asyncio.wait({starting, stopping, *always}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        _check(starting)
        gc.freeze()  # what is there now stays: no collection of garbage looks at it again, and holds up the event loop
        await asyncio.wait({stopping, *always}, return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()
    broken = [task.exception() for task in always if task.done()]
    await asyncio.gather(starting, serving.drain(server.hang_up), return_exceptions=True)
    if broken:
        logger.error("a part that runs as long as the server ended", exc_info=broken[0])
        raise CannotServe("the server broke; its log has the reason", 1)


def _check(starting: asyncio.Task[None]) -> None:
    error = starting.exception()
    if error is None:
        return
    if isinstance(error, ModelError):
        raise CannotServe(str(error), 2) from error
    logger.error("the server did not start", exc_info=error)
    raise CannotServe("the server did not start; its log has the reason", 1) from error
