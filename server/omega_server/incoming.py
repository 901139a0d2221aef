"""A request's body on its way in, bounded in bytes and in the time that a client lets us wait for them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.types import Message, Receive, Scope

from omega_server.wire import strict_json
from omega_server.wire.errors import REQUEST_TIMEOUT, ApiError, request_too_large
from omega_server.wire.large_strings import Splitter, put_back

PATIENCE = 30.0
"""Seconds that a client may let us wait; each byte gives it some back."""
RATE = 64 * 1024
"""Bytes per second at which a body may come for ever."""
LINGER = 2.0
"""Seconds for which the rest of a body is taken after its request was refused: a client that is still sending might
never look for an answer on a connection that was cut."""

PIECE = 32 * 1024
"""Bytes from which a piece waits for its turn."""
LARGE = 256 * 1024
"""Bytes from which JSON is parsed in a thread."""
# Several threads would take the interpreter's lock from each other, and each of them from the event loop.
_READER = ThreadPoolExecutor(1, "json")


async def parsed(splitter: Splitter) -> Any:
    """The value of a body that has arrived, in which the addresses of large pictures and videos are names of what is kept.

    Raises:
        ApiError: 400 invalid_json.
    """
    body, kept = splitter.finish(), splitter.kept
    if kept or len(body) > LARGE:
        return await asyncio.get_running_loop().run_in_executor(
            _READER, lambda: put_back(strict_json.parse(body), kept)
        )
    return strict_json.parse(body)


class Incoming:
    """The body of one request. Only waiting counts as time, not what is done with a part before the next is wanted."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        limit: int,
        patience: float = PATIENCE,
        turns: asyncio.Lock | None = None,
    ) -> None:
        """Of at most `limit` bytes, within `patience` seconds of waiting at first.

        Bodies that share their `turns` come one piece at a time: else many large ones would keep the event loop busy
        with all of their pieces before anybody else has a turn.
        """
        self._turns = turns or asyncio.Lock()
        names = {name for name, value in scope["headers"] if (name, value) != (b"content-length", b"0")}
        self._receive = receive
        self._limit = limit
        self._most = self._patience = patience
        self._received = 0
        self.pending = not names.isdisjoint({b"content-length", b"transfer-encoding"})
        """Whether the client may still be sending it."""

    async def receive(self) -> Message:
        """ASGI's receive.

        Raises:
            ApiError: 413 or 408, the body is too large, or does not come.
        """
        if not self.pending:
            return await self._receive()
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._patience):
                message = await self._receive()
        except TimeoutError as error:
            raise ApiError(REQUEST_TIMEOUT) from error
        size = len(message.get("body", b""))
        self._patience = min(self._most, self._patience - (loop.time() - began) + size / RATE)
        self._received += size
        self.pending = message.get("more_body", False)
        if self._received > self._limit:
            raise ApiError(request_too_large(self._limit))
        if self.pending and size > PIECE:
            async with self._turns:
                await asyncio.sleep(0)
        return message

    async def drop(self) -> None:
        """Take the rest, within bounds, and forget it."""
        self._patience = min(self._patience, LINGER)
        try:
            async with asyncio.timeout(LINGER):
                while self.pending:
                    await self.receive()
        except (ApiError, TimeoutError):
            return  # it was more than we wait for, and the connection ends
