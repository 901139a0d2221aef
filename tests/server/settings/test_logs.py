"""A log line is one line, in both styles, and belongs to a request."""

import json
import logging
from typing import Any

from omega_server.logs import JsonFormatter, TextFormatter, request_id


def record(message: str, fields: dict[str, Any] | None = None, error: BaseException | None = None) -> logging.LogRecord:
    """What a logger hands to its formatter."""
    made = logging.LogRecord(
        "omega", logging.INFO, "file", 1, message, (), (type(error), error, None) if error else None
    )
    if fields:
        made.fields = fields
    return made


def test_json() -> None:
    """JSON carries the process, fields, request id and exceptions."""
    token = request_id.set("id-1")
    line = JsonFormatter({"engine": 1}).format(record("said\nthings", {"status": 200}, ValueError("why")))
    request_id.reset(token)
    assert "\n" not in line
    entry = json.loads(line)
    assert (entry["engine"], entry["message"]) == (1, "said\nthings")
    assert (entry["status"], entry["request_id"]) == (200, "id-1")
    assert "ValueError: why" in entry["exception"]


def test_text() -> None:
    """A client's line break cannot forge a line."""
    line = TextFormatter({}).format(record("request", {"path": "/x\n12:00 error  forged"}))
    assert line.count("\n") == 0
    assert "path=/x\\n" in line
