"""Server-sent events: one JSON object each, then the word that ends the stream."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, which says nothing to the client, but tells it and whoever stands between that somebody is there."""


def event(data: dict[str, Any]) -> bytes:
    """One event. JSON has no raw line breaks, so one line is enough."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


async def events(chunks: AsyncGenerator[dict[str, Any], None]) -> AsyncGenerator[bytes, None]:
    """An answer's chunks as events; an answer that ended with an error has no last word."""
    failed = False
    async with aclosing(chunks):
        async for chunk in chunks:
            failed = "error" in chunk
            yield event(chunk)
    if not failed:
        yield DONE
