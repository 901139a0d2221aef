"""The messages of a conversation, and what they are made of."""

from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from omega_server.wire.strict import Strict, by
from omega_server.wire.tools import Call

MAX_TEXT = 8 * 1024 * 1024
"""Longest text of one message part, in characters. The context is shorter still; this bounds the work to find out."""
MAX_SOURCE = 512 * 1024 * 1024
"""Longest address of a picture or video, in characters; the body's own limit and maxBytes are smaller."""

MIN_PIXELS = 32 * 32
"""Least `max_pixels`: what becomes one token."""
MAX_FPS = 120.0
"""Most frames of a video for each second."""

UNSUPPORTED_IN_MESSAGES = frozenset(["name", "function_call", "audio", "refusal", "annotations"])
UNSUPPORTED_PARTS = {
    "file": "unsupported_content_type",
    "refusal": "unsupported_parameter",
    "image_embeds": "unsupported_parameter",
    "image_pil": "unsupported_parameter",
    "pickle": "unsupported_parameter",
}
"""Kinds of content that other servers take, and the code under which this one refuses them."""


Name = Annotated[str, Field(min_length=1, max_length=128)]
"""What a client calls a picture or video, for the log. What was sent under the same name before changes nothing: what is kept
is found by its content."""


class TextPart(Strict):
    """Words."""

    type: Literal["text"]
    text: Annotated[str, Field(max_length=MAX_TEXT)]


class Pixels(Strict):
    """How many pixels of a picture the model should see, as Qwen's clients say it."""

    min_pixels: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    max_pixels: Annotated[int, Field(ge=MIN_PIXELS, le=2**31 - 1)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_pixels is not None and self.max_pixels is not None and self.min_pixels > self.max_pixels:
            raise PydanticCustomError("invalid_value", "min_pixels is more than max_pixels")
        return self


class Look(Pixels):
    """How closely to look at a picture, in OpenAI's word for it too."""

    detail: Literal["auto", "low", "high"] | None = None


class ImageUrl(Look):
    """Where a picture is, and how closely to look."""

    url: Annotated[str, Field(max_length=MAX_SOURCE)]


class ImageUrlPart(Pixels):
    """A picture, as OpenAI's clients send it; numbers of pixels may stand inside image_url or beside it."""

    type: Literal["image_url"]
    image_url: ImageUrl
    uuid: Name | None = None

    @model_validator(mode="after")
    def _in_one_place(self) -> Self:
        inside, beside = ((of.min_pixels, of.max_pixels) for of in (self.image_url, self))
        if inside != (None, None) and beside != (None, None):
            raise PydanticCustomError("invalid_value", "pixels are given inside image_url and beside it")
        return self

    @property
    def source(self) -> str:
        """An http(s) address or a data: URI."""
        return self.image_url.url

    @property
    def look(self) -> Look:
        """How closely to look."""
        if self.min_pixels is None and self.max_pixels is None:
            return self.image_url
        return Look(detail=self.image_url.detail, min_pixels=self.min_pixels, max_pixels=self.max_pixels)


class ImagePart(Look):
    """A picture, as the original system took it: an address, a data: URI or plain base64."""

    type: Literal["image"]
    image: Annotated[str, Field(max_length=MAX_SOURCE)]
    uuid: Name | None = None

    @property
    def source(self) -> str:
        """An http(s) address, a data: URI or base64."""
        return self.image

    @property
    def look(self) -> Look:
        """How closely to look."""
        return self


class Frames(Strict):
    """Which frames of a video the model should see, and how large, as Qwen's clients say it."""

    fps: Annotated[float, Field(gt=0.0, le=MAX_FPS)] | None = None
    num_frames: Annotated[int, Field(ge=2, le=2**31 - 1)] | None = None
    max_frames: Annotated[int, Field(ge=2, le=2**31 - 1)] | None = None
    max_pixels: Annotated[int, Field(ge=MIN_PIXELS, le=2**31 - 1)] | None = None
    total_pixels: Annotated[int, Field(ge=2 * MIN_PIXELS, le=2**31 - 1)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.num_frames is not None and (self.fps is not None or self.max_frames is not None):
            raise PydanticCustomError("invalid_value", "num_frames stands for itself, without fps and max_frames")
        return self


class VideoUrl(Strict):
    """Where a video is."""

    url: Annotated[str, Field(max_length=MAX_SOURCE)]


class VideoUrlPart(Frames):
    """A video, as clients of other servers send it."""

    type: Literal["video_url"]
    video_url: VideoUrl
    uuid: Name | None = None

    @property
    def source(self) -> str:
        """An http(s) address or a data: URI."""
        return self.video_url.url


class VideoPart(Frames):
    """A video, as the original system took it: an address or a data: URI."""

    type: Literal["video"]
    video: Annotated[str, Field(max_length=MAX_SOURCE)]
    uuid: Name | None = None

    @property
    def source(self) -> str:
        """An http(s) address or a data: URI."""
        return self.video


class AudioPart(Strict):
    """Sound. Whoever knows the model refuses it by the model's name, whatever else is in it."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["input_audio", "audio", "audio_url"]


def _refuse_part(value: Any) -> NoReturn:
    kind = value["type"]
    raise PydanticCustomError(UNSUPPORTED_PARTS[kind], "content of type {kind} is not supported", {"kind": kind})


def _text_only(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") in _SHOWN:
        raise PydanticCustomError("invalid_value", "pictures and videos belong into user messages")
    return value


_SHOWN = ("image", "image_url", "video", "video_url")
_PART_TAGS = {
    "text": "<text>",
    **{kind: f"<{kind}>" for kind in _SHOWN},
    **dict.fromkeys(("input_audio", "audio", "audio_url"), "<audio>"),
    **dict.fromkeys(UNSUPPORTED_PARTS, "<refused>"),
}
Refused = Annotated[Any, BeforeValidator(_refuse_part), Tag("<refused>")]
Text = Annotated[TextPart, Tag("<text>")]
Audio = Annotated[AudioPart, Tag("<audio>")]
UserPart = Annotated[
    Text
    | Annotated[ImagePart, Tag("<image>")]
    | Annotated[ImageUrlPart, Tag("<image_url>")]
    | Annotated[VideoPart, Tag("<video>")]
    | Annotated[VideoUrlPart, Tag("<video_url>")]
    | Audio
    | Refused,
    Discriminator(by("type", _PART_TAGS)),
]
OtherPart = Annotated[Text | Audio | Refused, Discriminator(by("type", _PART_TAGS)), BeforeValidator(_text_only)]


def _as_parts(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


class UserMessage(Strict):
    """What a person says and shows."""

    role: Literal["user"]
    content: Annotated[list[UserPart], BeforeValidator(_as_parts), Field(min_length=1, max_length=1024)]


class OtherMessage(Strict):
    """Instructions, or what the model said before."""

    role: Literal["system", "developer", "assistant"]
    content: Annotated[list[OtherPart], BeforeValidator(_as_parts), Field(min_length=1, max_length=1024)]


def _no_parts(value: Any) -> Any:
    return [] if value is None else _as_parts(value)


class CallingMessage(Strict):
    """What the model said before it called tools, if anything, and the calls."""

    role: Literal["assistant"]
    content: Annotated[list[OtherPart], BeforeValidator(_no_parts), Field(max_length=1024, default_factory=list)]
    tool_calls: Annotated[list[Call], Field(min_length=1, max_length=128)]


class ToolMessage(Strict):
    """What came of a call."""

    role: Literal["tool"]
    content: Annotated[list[OtherPart], BeforeValidator(_as_parts), Field(min_length=1, max_length=1024)]
    tool_call_id: Annotated[str, Field(min_length=1, max_length=256)]


def _refuse_role(value: Any) -> NoReturn:
    raise PydanticCustomError(
        "unsupported_parameter", "messages of role {role} are not supported", {"role": value["role"]}
    )


_ROLE_TAGS = {
    "user": "<user>",
    **dict.fromkeys(("system", "developer", "assistant"), "<other>"),
    "tool": "<tool>",
    "function": "<refused>",
}
_by_role = by("role", _ROLE_TAGS)


def _kind(value: Any) -> str | None:
    calling = isinstance(value, dict) and value.get("role") == "assistant" and value.get("tool_calls") is not None
    return "<calling>" if calling else _by_role(value)


Message = Annotated[
    Annotated[UserMessage, Tag("<user>")]
    | Annotated[OtherMessage, Tag("<other>")]
    | Annotated[CallingMessage, Tag("<calling>")]
    | Annotated[ToolMessage, Tag("<tool>")]
    | Annotated[Any, BeforeValidator(_refuse_role), Tag("<refused>")],
    Discriminator(_kind),
]
