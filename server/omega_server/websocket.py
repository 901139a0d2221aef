"""Chat over a WebSocket: several answers at once on one connection, each with the chunks and the errors of a stream.

What is not read is not computed into chunks: a connection whose client is slow keeps one chunk for each of its requests.
"""

import asyncio
import base64
import binascii
import logging
import time
import uuid
from contextlib import AbstractContextManager, aclosing, suppress
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from omega_server import chat, logs, tracing
from omega_server.incoming import PIECE, parsed
from omega_server.media.kept import kept
from omega_server.metrics import CLIENT_GONE
from omega_server.serving import Serving
from omega_server.wire import socket
from omega_server.wire.errors import (
    INTERNAL,
    INVALID_API_KEY,
    NOT_FOUND,
    NOT_READY,
    ApiError,
    Problem,
    bad_request,
    forget,
    problem_of,
)
from omega_server.wire.large_strings import Splitter

logger = logging.getLogger(__name__)

PATH = "/v1/chat/completions/ws"
PROTOCOL = "omega.chat.v1"
"""Subprotocol; a client that names any must name this one."""
BEARER = "bearer."
"""Begins the subprotocol in which a browser, which can send no Authorization header, has its key in base64url."""
MOST = 16
"""Requests at the same time on one connection."""
UNSUPPORTED_DATA, RESTART = 1003, 1012
"""Why a connection is closed: a binary message came; the server stops, and another one will answer."""

TOO_MANY = Problem(
    429,
    "rate_limit_exceeded",
    f"A connection may have {MOST} requests at the same time.",
    type="rate_limit_error",
    retry_after=1,
)
OTHER_ORIGIN = Problem(401, "invalid_api_key", "A page from elsewhere may use this server only if it needs a key.")


class BoundedSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose client is gone without a word does not stay: what it will never read is thrown away."""

    def keepalive_timeout(self) -> None:
        """It did not answer a ping."""
        super().keepalive_timeout()
        self.loop.call_later(self.close_timeout, self.transport.abort)


class Connection:
    """One WebSocket."""

    def __init__(self, serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
        self._serving = serving
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = Headers(scope=scope)
        self._id = uuid.uuid4().hex
        self._count = 0
        self._running: dict[str, asyncio.Task[None]] = {}
        self._unwanted: set[str] = set()
        self._closed = False

    async def serve(self) -> None:
        """Answer what comes, until the client or this server goes away."""
        logs.request_id.set(self._id)
        problem = self._refusal()
        if problem is not None:
            await self._reject(problem)
            return
        await self._receive()  # says that it wants to connect
        offered = PROTOCOL if PROTOCOL in self._scope["subprotocols"] else None
        headers = [(b"x-request-id", self._id.encode())]
        await self._send({"type": "websocket.accept", "subprotocol": offered, "headers": headers})
        parts = [asyncio.ensure_future(part) for part in (self._read(), self._drained())]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part.done():
                    part.result()
        except ClientDisconnected:
            logger.debug("a client of a WebSocket is gone")
        finally:
            tasks = [*parts, *self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _refusal(self) -> Problem | None:
        keys = [value for name, value in self._scope["headers"] if name == b"authorization"]
        keys += [_bearer(word) for word in self._scope["subprotocols"] if word.startswith(BEARER)]
        if not self._serving.keys.allows(keys):
            return INVALID_API_KEY
        # Browsers let any page open a WebSocket to anywhere. A page that knows a key was given it; without keys
        # only our own may.
        origin = self._headers.get("origin")
        if origin is not None and self._serving.keys.everybody and urlsplit(origin).netloc != self._headers.get("host"):
            return OTHER_ORIGIN
        return None if self._scope["path"] == PATH else NOT_FOUND

    async def _reject(self, problem: Problem) -> None:
        self._log(problem.status, 0.0)
        headers = {"content-type": "application/json", "x-request-id": self._id, **problem.headers()}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "websocket.http.response.start", "status": problem.status, "headers": raw})
        await self._send({"type": "websocket.http.response.body", "body": orjson.dumps(problem.body())})

    async def _drained(self) -> None:
        """Close when the server stops and what runs here has ended."""
        await self._serving.draining.wait()
        while self._running:
            await asyncio.wait(self._running.values())
        await self._close(RESTART, "the server stops")

    async def _read(self) -> None:
        while (message := await self._receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            if text is None:
                await self._close(UNSUPPORTED_DATA, "send text messages")
                return
            await self._handle(text)

    async def _handle(self, text: str) -> None:
        name = None
        try:
            splitter = await _split(text)
            value = await parsed(splitter)
            name = _id_of(value)
            match socket.parse(value):
                case socket.Cancel(id=unwanted):
                    self._cancel(unwanted)
                case socket.Ask(id=wanted, request=body):
                    kept.set(splitter.kept)  # the request's own task takes it over
                    self._begin(wanted, body)
                    await asyncio.sleep(0)  # so that it has begun before it can be cancelled
        except ApiError as error:
            await self._tell(socket.error(name, error.problem))
        finally:
            kept.set({})

    def _begin(self, name: str, body: dict[str, Any]) -> None:
        if name in self._running:
            # Its id belongs to the one that runs, whose answer this must not seem to end.
            raise bad_request("invalid_value", "A request with this id is being answered.", "id")
        if self._serving.state != "ready":
            raise ApiError(NOT_READY)
        if len(self._running) >= MOST:
            raise ApiError(TOO_MANY)
        self._count += 1
        task = asyncio.ensure_future(self._answer(name, f"{self._id}:{self._count}", body))
        self._running[name] = task
        task.add_done_callback(lambda _: self._running.pop(name, None))

    def _cancel(self, name: str) -> None:
        task = self._running.get(name)
        if task is not None:  # else its end and the wish to end it have met on their way
            self._unwanted.add(name)
            task.cancel()

    async def _answer(self, name: str, request_id: str, body: dict[str, Any]) -> None:
        logs.request_id.set(request_id)
        began, status = time.monotonic(), CLIENT_GONE
        with self._serving.answering(), self._traced(request_id):
            try:
                status = await self._stream(name, body)
            except ClientDisconnected:
                return
            except asyncio.CancelledError:
                if name not in self._unwanted:
                    raise
                await self._tell(socket.cancelled(name))
            except Exception as error:
                problem = problem_of(error)
                if problem is None:
                    logger.exception("a request failed")
                status = (problem or INTERNAL).status
                with suppress(ClientDisconnected):
                    await self._tell(socket.error(name, problem or INTERNAL))
                forget(error)
            finally:
                self._unwanted.discard(name)
                tracing.answered(f"WS {PATH}", status)
                self._log(status, time.monotonic() - began)

    def _traced(self, request_id: str) -> AbstractContextManager[None]:
        attributes = {"url.path": PATH, "network.protocol.name": "websocket", "omega.request_id": request_id}
        return tracing.traced(self._serving.tracing, "WS", self._headers, attributes)

    async def _stream(self, name: str, body: dict[str, Any]) -> int:
        """Answer a request; the status that it would have had alone."""
        wanted = socket.chat(body)
        job = await chat.prepare(self._serving, wanted)
        async with aclosing(await chat.open_stream(self._serving, job)) as chunks:
            async for chunk in chunks:
                await self._tell(socket.chunk(name, chunk))
        await self._tell(socket.done(name))
        return 200

    def _log(self, status: int, seconds: float) -> None:
        path = self._scope["path"]
        self._serving.metrics.responses.labels(path if path == PATH else "unknown", str(status)).inc()
        logger.info(
            "request", extra={"fields": {"method": "WS", "path": path, "status": status, "seconds": round(seconds, 4)}}
        )

    async def _tell(self, text: str) -> None:
        if not self._closed:
            await self._send({"type": "websocket.send", "text": text})

    async def _close(self, code: int, reason: str) -> None:
        self._closed = True
        await self._send({"type": "websocket.close", "code": code, "reason": reason})


async def _split(text: str) -> Splitter:
    """A message as a body that came in pieces, each of which has its turn."""
    splitter = Splitter()
    for at in range(0, len(text), PIECE):
        splitter.feed(text[at : at + PIECE].encode("utf-8", "surrogatepass"))
        await asyncio.sleep(0)
    return splitter


def _id_of(value: Any) -> str | None:
    """Under which a message's faults are told, as far as that can be seen."""
    name = value.get("id") if isinstance(value, dict) else None
    return name if isinstance(name, str) and len(name) <= 128 else None


def _bearer(word: str) -> bytes:
    """The header that a browser's subprotocol stands for; a broken one stands for a key that nobody has."""
    payload = word.removeprefix(BEARER)
    try:
        return b"Bearer " + base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
