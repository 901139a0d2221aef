"""A conversation, and what goes through the pipe between the server's process and a prompt process.

Small picklable values only, and nothing that needs torch. Pixels do not go through the pipe: where there are any, a message
is followed by a file descriptor of memory that both processes map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from omega_server.engine.request import MediumHeader
from omega_server.media.decode import Picture


@dataclass(frozen=True)
class Turn:
    """What one side says: text and pictures, in order."""

    role: str
    parts: tuple[str | Picture, ...]


def pictures(turns: Sequence[Turn]) -> list[Picture]:
    """The pictures of a conversation, in order."""
    return [part for turn in turns for part in turn.parts if isinstance(part, Picture)]


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """A picture without its pixels: width and height."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Job:
    """To the process: a conversation. With pictures, their pixels follow as one descriptor, RGB, in this order.

    Attributes:
        wanted: the prompt, or only its text.
        turns: role and parts of each.
    """

    wanted: Literal["prompt", "text"]
    turns: tuple[tuple[str, tuple[str | PictureHeader, ...]], ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """From the process: the processor is loaded.

    Attributes:
        max_length: longest prompt and answer together, in tokens: what was asked for, or what the checkpoint can do.
        vocabulary: number of token ids.
        tokenizer: as JSON.
    """

    max_length: int
    vocabulary: int
    tokenizer: str


@dataclass(frozen=True, slots=True)
class Refused:
    """From the process: the processor cannot be loaded, by the user's fault. It ends after this."""

    message: str


@dataclass(frozen=True, slots=True)
class Parts:
    """From the process: a prompt. With media, their pixels follow as one descriptor, float32, in this order.

    Attributes:
        token_ids: of the prompt.
        media: without their pixels.
        image_tokens: of each picture.
    """

    token_ids: tuple[int, ...]
    media: tuple[MediumHeader, ...]
    image_tokens: tuple[int, ...]


Answer = Parts | str | Exception
"""From the process: the prompt, the text, or what went wrong."""
