"""Server-sent events: one JSON object each, then the word that ends the stream."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson

from omega_server.wire.errors import INTERNAL, problem_of

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, which says nothing to the client, but tells it and whoever stands between that somebody is there."""


def event(data: dict[str, Any]) -> bytes:
    """One event. JSON has no raw line breaks, so one line is enough."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


async def events(chunks: AsyncGenerator[dict[str, Any], None]) -> AsyncGenerator[bytes, None]:
    """An answer's chunks as events. One that cannot be completed says so instead of the last word.

    Raises:
        Exception: what nobody foresaw, after it was told.
    """
    async with aclosing(chunks):
        try:
            async for chunk in chunks:
                yield event(chunk)
        except Exception as error:
            problem = problem_of(error)
            yield event((problem or INTERNAL).body())
            if problem is None:
                raise
            return
    yield DONE
