"""Log lines, as text for people or JSON for collectors, each with the id of the request that it belongs to."""

import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request that the current task works for."""


class JsonFormatter(logging.Formatter):
    """One JSON object per line. `extra={"fields": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """Time, level, message, fields, request id."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback below it if there is one."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = dict(getattr(record, "fields", {}))
        if (current := request_id.get()) is not None:
            fields["request_id"] = current
        # A line break in a client's words would look like a line of ours.
        words = [f"{time} {record.levelname.lower():7} {record.getMessage()}"]
        line = " ".join(words + [f"{name}={value}" for name, value in fields.items()]).replace("\n", "\\n")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(style: Literal["text", "json"]) -> None:
    """Send every logger's lines to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(True)


def set_level(name: str) -> None:
    """Log from this level on: debug, info, warning or error."""
    logging.getLogger().setLevel(name.upper())
