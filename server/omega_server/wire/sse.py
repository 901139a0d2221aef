"""Server-sent events: one JSON object each, then the word that ends the stream."""

from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"


def event(data: dict[str, Any]) -> bytes:
    """One event. JSON has no raw line breaks, so one line is enough."""
    return b"data: " + orjson.dumps(data) + b"\n\n"
