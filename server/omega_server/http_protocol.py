"""HTTP/1.1 as uvicorn does it, but in small pieces, with bounded headers, and with the API's error body where no application is
asked yet.
"""

import asyncio
from typing import Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from omega_server.wire.errors import HEADERS_TOO_LARGE, INVALID_HTTP, REQUEST_TIMEOUT, Problem

MAX_HEAD = 256 * 1024
"""Bytes from a request's first to the end of its header. The gate's own limit is stricter, but it sees only whole headers."""
MAX_TARGET = 32 * 1024
"""Bytes of a request's path and query."""


READ = 72 * 1024
"""Bytes that are read at once: a few more than uvicorn lets wait of a body before it pauses."""
_read = memoryview(bytearray(READ))


LAST_CALL = "omega.last_call"
"""In the scope of a request: whether it comes over a connection that had its last call."""


class Doorway(asyncio.BufferedProtocol):
    """A connection, which is read a little at a time.

    uvloop alone reads 256 kB of each connection that has as much, and all of them before anybody has a turn: when many bodies
    begin at once, that takes long.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """The same as for uvicorn's."""
        self._http = BoundedHttp(*arguments, **named)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._http.connection_made(transport)  # type: ignore[arg-type]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the base class's
        """Where bytes go. One place does for all connections: they are taken out at once."""
        return _read

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self._http.data_received(bytes(_read[:nbytes]))

    def eof_received(self) -> None:
        """It will send no more."""
        self._http.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """It went."""
        self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        """It does not read what was written."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._http.resume_writing()


class BoundedHttp(HttpToolsProtocol):
    """Gives up a connection whose header does not end, in bytes or in time."""

    head_seconds = 20.0
    """Longest time from a connection, or from the first byte of a later request, to the end of the header."""
    _problem = INVALID_HTTP
    _has_last_call = False
    _head = 0
    _in_head = True
    _late: asyncio.TimerHandle | None = None

    def last_call(self, seconds: int) -> None:
        """End it: at once where nothing is being answered.

        Else so many seconds after the answer, which began without a word of that. A request that comes meanwhile is told.
        """
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self._has_last_call = True
            self.timeout_keep_alive = seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        self._late = self.loop.call_later(self.head_seconds, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """It went."""
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._in_head:
            self._head += len(data)
            self._late = self._late or self.loop.call_later(self.head_seconds, self._too_late)
        super().data_received(data)
        if self._in_head and self._head > MAX_HEAD and not self.transport.is_closing():
            self._refuse(HEADERS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of its path and query."""
        super().on_url(url)
        if len(self.url) > MAX_TARGET:
            self._problem = HEADERS_TOO_LARGE
            raise ValueError("the target is too long")  # the parser gives up, and comes to send_400_response

    def on_headers_complete(self) -> None:
        """Its header ended."""
        self._in_head, self._head = False, 0
        self._in_time()
        cast("dict[str, Any]", self.scope)[LAST_CALL] = self._has_last_call
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It ended; the next one's header may follow."""
        self._in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are not for clients
        """What came is not HTTP, or too much of it."""
        self._refuse(self._problem)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering:  # an earlier request on this connection; what follows it has time until then
            self._late = self.loop.call_later(self.head_seconds, self._too_late)
        elif self._head:
            self._refuse(REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        body = orjson.dumps(problem.body())
        fields = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[problem.status] + fields + body)
        self.transport.close()
