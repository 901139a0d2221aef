"""The child's side of systems.Child: a line of JSON in, a line of JSON out."""

import base64
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image


@dataclass(eq=False)
class Job:
    """A request in a child.

    Attributes:
        after: seconds after the first one.
        messages: as the API takes them.
        tokens: of the answer.
        sent: when it was due, on the monotonic clock.
        pieces: when its tokens came.
    """

    after: float
    messages: list[dict[str, Any]]
    tokens: int
    sent: float
    pieces: list[float]

    def result(self) -> list[Any]:
        """For systems.Child.send."""
        return [self.sent, self.pieces, self.pieces[-1], self.tokens]


def requests() -> Iterator[dict[str, Any]]:
    """What the parent asks for, after it was told that the model is there; until it closes the pipe."""
    reply([])
    yield from map(json.loads, sys.stdin)


def reply(answer: list[Any]) -> None:
    """Answer the last request."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def jobs(lines: list[dict[str, Any]], begin: float) -> list[Job]:
    """The requests of a load that begins now."""
    return [Job(line["after"], line["messages"], line["tokens"], begin + line["after"], []) for line in lines]


def content(message: dict[str, Any]) -> Iterator[str | Image.Image]:
    """The parts of a message: texts and decoded pictures."""
    said = message["content"]
    parts: list[dict[str, Any]] = [{"type": "text", "text": said}] if isinstance(said, str) else said
    for part in parts:
        if part["type"] == "text":
            yield part["text"]
        else:
            data = part["image_url"]["url"].partition(",")[2]
            yield Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
