"""A conversation, and what goes through the pipe between the server's process and a prompt process.

Small picklable values only, and nothing that needs torch. Pixels do not go through the pipe: where there are any, a message
is followed by a file descriptor of memory that both processes map.

Tokens and pixels are jobs of their own: a prompt is first tokenized, with the sizes of its pictures and videos alone, so
that one that is too long costs no more; then each of them is cut into patches, several at once by several processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from omega_server.engine.request import MediumHeader
from omega_server.media.clip import Clip, ClipHeader, VideoDefaults
from omega_server.media.picture import Picture, PictureHeader

Shown = Picture | Clip
"""What can stand in a prompt beside text."""
Header = PictureHeader | ClipHeader
"""It without its pixels."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool: its name and its arguments, which are JSON."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Turn:
    """What one side says: text, pictures and videos, in order. Without their pixels they can be counted, and not be shown.

    Attributes:
        role: who says it.
        parts: what.
        calls: of tools, which the model made after that.
    """

    role: str
    parts: tuple[str | Shown | Header, ...]
    calls: tuple[Call, ...] = ()


Tools = tuple[dict[str, Any], ...]
"""What the model may call: functions, as a template has them."""


def shown(turns: Sequence[Turn]) -> list[Shown]:
    """The pictures and videos of a conversation, in order."""
    return [part for turn in turns for part in turn.parts if isinstance(part, Picture | Clip)]


@dataclass(frozen=True, slots=True)
class PromptJob:
    """To the process: tokenize a conversation, or write it out.

    Attributes:
        wanted: token ids, or the text.
        turns: without pixels.
        tools: that the model may call.
    """

    wanted: Literal["tokens", "text"]
    turns: tuple[Turn, ...]
    tools: Tools = ()


@dataclass(frozen=True, slots=True)
class MediumJob:
    """To the process: cut a picture or video into patches. Its pixels follow as a descriptor, RGB.

    Attributes:
        header: what there is to know beside the pixels.
        key: of its content.
    """

    header: Header
    key: bytes


@dataclass(frozen=True, slots=True)
class GrammarJob:
    """To the process: whether the form of an answer can be enforced.

    Attributes:
        grammar: in llguidance's language.
    """

    grammar: str


Job = PromptJob | MediumJob | GrammarJob


@dataclass(frozen=True, slots=True)
class Ready:
    """From the process: the processor is loaded.

    Attributes:
        max_length: longest prompt and answer together, in tokens: what was asked for, or what the checkpoint can do.
        vocabulary: number of token ids.
        tokenizer: as JSON.
        video: which frames are taken of videos when a request says nothing.
        tools: whether the chat template knows tools, and calls of them in Qwen's format.
    """

    max_length: int
    vocabulary: int
    tokenizer: str
    video: VideoDefaults
    tools: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """From the process: the processor cannot be loaded, by the user's fault. It ends after this."""

    message: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """From the process: a prompt without its media.

    Attributes:
        token_ids: with one placeholder token for each merged patch of each medium.
        image_tokens: of each picture.
        video_tokens: of each video, without those that tell the time.
    """

    token_ids: tuple[int, ...]
    image_tokens: tuple[int, ...] = ()
    video_tokens: tuple[int, ...] = ()


Answer = Tokens | MediumHeader | str | None | Exception
"""From the process: token ids, a medium (its pixels follow as a descriptor, float32), the text, nothing for a grammar that
is right, or what went wrong."""
