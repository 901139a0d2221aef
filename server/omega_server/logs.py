"""Log lines, as text for people or JSON for collectors, each with the id of the request that it belongs to."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request that the current task works for."""


@contextmanager
def about(request: str | None) -> Iterator[None]:
    """What is logged meanwhile belongs to the request of this id."""
    before = request_id.set(request)
    try:
        yield
    finally:
        request_id.reset(before)


@dataclass(frozen=True)
class Lines:
    """How a process logs.

    Attributes:
        style: JSON for collectors or text for people.
        level: the least urgent lines: debug, info, warning or error.
    """

    style: Literal["text", "json"] = "text"
    level: str = "info"


class _Formatter(logging.Formatter):
    def __init__(self, process: Mapping[str, Any]) -> None:
        super().__init__()
        self._process = process

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What stands in a line beside its message."""
        return {**self._process, **getattr(record, "fields", {})}


class JsonFormatter(_Formatter):
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
        line |= self.fields(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(_Formatter):
    """Time, level, message, fields, request id."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback below it if there is one."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = self.fields(record)
        if (current := request_id.get()) is not None:
            fields["request_id"] = current
        # A line break in a client's words would look like a line of ours.
        words = [f"{time} {record.levelname.lower():7} {record.getMessage()}"]
        line = " ".join(words + [f"{name}={value}" for name, value in fields.items()]).replace("\n", "\\n")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(lines: Lines, **process: Any) -> None:
    """Send every logger's lines to standard error; `process` stands in each of them, to tell processes apart."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(process) if lines.style == "json" else TextFormatter(process))
    logging.basicConfig(handlers=[handler], level=lines.level.upper(), force=True)
    logging.captureWarnings(True)


def set_level(name: str) -> None:
    """Log from this level on: debug, info, warning or error."""
    logging.getLogger().setLevel(name.upper())
