"""A chat request: every field is implemented or refused by name, and nothing is ignored.

Types are strict: true is no number and "7" neither. Limits that only the live configuration knows are checked in
`chat`, with the same codes.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from omega_server.wire.errors import bad_request
from omega_server.wire.faults import first_fault

MAX_TEXT = 8 * 1024 * 1024
"""Longest text of one message part, in characters. The context is shorter still; this bounds the work to find out."""
MAX_SOURCE = 512 * 1024 * 1024
"""Longest picture address, in characters; the body's own limit and images.maxBytes are smaller."""
MAX_STOP = 1024
"""Longest stop string, in characters."""
MAX_PLAIN = 1024 * 1024
"""Longest text to tokenize without a conversation, in characters."""

UNSUPPORTED = frozenset(
    [
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "functions",
        "function_call",
        "modalities",
        "audio",
        "prediction",
        "reasoning_effort",
        "reasoning",
        "service_tier",
        "store",
        "web_search_options",
        "verbosity",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "moderation",
        "best_of",
        "use_beam_search",
        "early_stopping",
        "include_stop_str_in_output",
        "skip_special_tokens",
        "truncate_prompt_tokens",
        "prompt_logprobs",
        "logprob_token_ids",
        "allowed_token_ids",
        "bad_words",
        "echo",
        "add_generation_prompt",
        "continue_final_message",
        "add_special_tokens",
        "documents",
        "chat_template",
        "chat_template_kwargs",
        "media_io_kwargs",
        "mm_processor_kwargs",
        "structured_outputs",
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
        "priority",
        "request_id",
        "session_id",
        "return_token_ids",
        "cache_salt",
        "kv_transfer_params",
        "vllm_xargs",
        "repetition_detection",
        "thinking_token_budget",
        "include_reasoning",
        "thinking",
        "regex",
        "ebnf",
        "stop_regex",
        "lora_path",
        "lora_request",
        "rid",
        "input_ids",
        "custom_logit_processor",
        "images_config",
        "max_dynamic_patch",
        "prompt_embeds",
        "image_embeds",
        "num_beams",
        "do_sample",
    ]
)
"""Fields that OpenAI or other servers know and this one does not do."""

ALREADY_SO: Mapping[str, tuple[Any, ...]] = {
    "add_generation_prompt": (True,),
    "best_of": (1,),
    "continue_final_message": (False,),
    "early_stopping": (False,),
    "echo": (False,),
    "include_stop_str_in_output": (False,),
    "modalities": (["text"],),
    "num_beams": (1,),
    "service_tier": ("auto", "default"),
    "skip_special_tokens": (True,),
    "store": (False,),
    "use_beam_search": (False,),
}
"""Values of such fields that ask for what happens anyway, and are taken."""

UNSUPPORTED_IN_MESSAGES = frozenset(
    ["name", "tool_calls", "tool_call_id", "function_call", "audio", "refusal", "annotations"]
)
UNSUPPORTED_PARTS = {
    "input_audio": "unsupported_content_type",
    "audio": "unsupported_content_type",
    "audio_url": "unsupported_content_type",
    "video": "unsupported_content_type",
    "video_url": "unsupported_content_type",
    "file": "unsupported_content_type",
    "refusal": "unsupported_parameter",
    "image_embeds": "unsupported_parameter",
    "image_pil": "unsupported_parameter",
    "pickle": "unsupported_parameter",
}
"""Kinds of content that other servers take, and the code under which this one refuses them."""


class Strict(BaseModel):
    """No coercion, no unknown field, no change afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _by(field: str, known: Mapping[str, str]) -> Callable[[Any], str | None]:
    """A discriminator that tags by the value of `field`; tags stand in <> so that no field can look like one."""

    def tag(value: Any) -> str | None:
        kind = value.get(field) if isinstance(value, dict) else getattr(value, field, None)
        return known.get(kind, f"<{kind}>") if isinstance(kind, str) else None

    return tag


class TextPart(Strict):
    """Words."""

    type: Literal["text"]
    text: Annotated[str, Field(max_length=MAX_TEXT)]


class ImageUrl(Strict):
    """Where a picture is, and how closely to look."""

    url: Annotated[str, Field(max_length=MAX_SOURCE)]
    detail: Literal["auto", "low", "high"] | None = None


class ImageUrlPart(Strict):
    """A picture, as OpenAI's clients send it."""

    type: Literal["image_url"]
    image_url: ImageUrl

    @property
    def source(self) -> str:
        """An http(s) address or a data: URI."""
        return self.image_url.url

    @property
    def detail(self) -> str | None:
        """How closely to look: low, high or auto."""
        return self.image_url.detail


class ImagePart(Strict):
    """A picture, as the original system took it: an address, a data: URI or plain base64."""

    type: Literal["image"]
    image: Annotated[str, Field(max_length=MAX_SOURCE)]
    detail: Literal["auto", "low", "high"] | None = None

    @property
    def source(self) -> str:
        """An http(s) address, a data: URI or base64."""
        return self.image


def _refuse_part(value: Any) -> NoReturn:
    kind = value["type"]
    raise PydanticCustomError(UNSUPPORTED_PARTS[kind], "content of type {kind} is not supported", {"kind": kind})


def _text_only(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") in ("image", "image_url"):
        raise PydanticCustomError("invalid_value", "pictures belong into user messages")
    return value


_PART_TAGS = {"text": "<text>", "image": "<image>", "image_url": "<image_url>"} | dict.fromkeys(
    UNSUPPORTED_PARTS, "<refused>"
)
Refused = Annotated[Any, BeforeValidator(_refuse_part), Tag("<refused>")]
Text = Annotated[TextPart, Tag("<text>")]
UserPart = Annotated[
    Text | Annotated[ImagePart, Tag("<image>")] | Annotated[ImageUrlPart, Tag("<image_url>")] | Refused,
    Discriminator(_by("type", _PART_TAGS)),
]
OtherPart = Annotated[Text | Refused, Discriminator(_by("type", _PART_TAGS)), BeforeValidator(_text_only)]


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


def _refuse_role(value: Any) -> NoReturn:
    raise PydanticCustomError(
        "unsupported_parameter", "messages of role {role} are not supported", {"role": value["role"]}
    )


_ROLE_TAGS = {
    "user": "<user>",
    **dict.fromkeys(("system", "developer", "assistant"), "<other>"),
    **dict.fromkeys(("tool", "function"), "<refused>"),
}
Message = Annotated[
    Annotated[UserMessage, Tag("<user>")]
    | Annotated[OtherMessage, Tag("<other>")]
    | Annotated[Any, BeforeValidator(_refuse_role), Tag("<refused>")],
    Discriminator(_by("role", _ROLE_TAGS)),
]


def _refuse_true(value: Any) -> Any:
    if value is True:
        raise PydanticCustomError("unsupported_parameter", "only false is supported")
    return value


class StreamOptions(Strict):
    """How the stream ends."""

    include_usage: bool | None = None
    include_obfuscation: Annotated[bool, BeforeValidator(_refuse_true)] | None = None


class ResponseFormat(Strict):
    """Plain text is the only format so far."""

    type: Literal["text"]

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("type") in ("json_object", "json_schema"):
            raise PydanticCustomError("unsupported_parameter", "only the format text is supported")
        return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Stop = Annotated[str, StringConstraints(min_length=1, max_length=MAX_STOP)]
Int32 = Annotated[int, Field(ge=1, le=2**31 - 1)]
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]


class ChatRequest(Strict):
    """The body of POST /v1/chat/completions and of /v1/apply_template. None means: the server's default."""

    model: str | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    max_tokens: Int32 | None = None
    max_completion_tokens: Int32 | None = None
    min_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2.0, le=2.0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2.0, le=2.0)] | None = None
    length_penalty: float | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Annotated[list[Stop], BeforeValidator(_as_list), Field(max_length=64)] | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = None
    ignore_eos: bool | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
        ]
        | None
    ) = None

    @property
    def answer_tokens(self) -> tuple[str, int | None]:
        """Which field limits the answer, and its value in tokens."""
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return "max_tokens", self.max_tokens


class TokenizeRequest(Strict):
    """The body of POST /v1/tokenize with a text; with messages it is a chat request."""

    model: str | None = None
    prompt: Annotated[str, Field(max_length=MAX_PLAIN)]


Body = TypeVar("Body", bound=Strict)


def parse_chat(value: Any) -> ChatRequest:
    """The chat request that a JSON value stands for.

    Raises:
        ApiError: 400, with the first fault's code and field.
    """
    body = _object(value)
    _refuse_unsupported(body)
    request = _validated(ChatRequest, {name: item for name, item in body.items() if name not in UNSUPPORTED})
    _check_together(request)
    return request


def parse_tokenize(value: Any) -> TokenizeRequest | ChatRequest:
    """What a JSON value wants to have tokenized: a text, or the prompt of a conversation.

    Raises:
        ApiError: 400, with the first fault's code and field.
    """
    body = _object(value)
    if body.get("messages") is None:
        return _validated(TokenizeRequest, {name: item for name, item in body.items() if name != "messages"})
    if body.get("prompt") is not None:
        raise bad_request("invalid_value", "Send either prompt or messages.", "prompt")
    return parse_chat({name: item for name, item in body.items() if name != "prompt"})


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise bad_request("invalid_type", "The body must be a JSON object.")
    return value


def _validated(kind: type[Body], value: dict[str, Any]) -> Body:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise first_fault(error.errors(include_url=False)) from error


def _asks_nothing(name: str, item: Any) -> bool:
    """Whether a field asks for nothing else than what happens anyway; clients send null for what they do not use."""
    return item is None or any(type(item) is type(known) and item == known for known in ALREADY_SO.get(name, ()))


def _refuse_unsupported(value: dict[str, Any]) -> None:
    for name, item in value.items():
        if name in UNSUPPORTED and not _asks_nothing(name, item):
            raise bad_request("unsupported_parameter", f"{name} is not supported.", name)
    messages = value.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if isinstance(message, dict):
            for name in UNSUPPORTED_IN_MESSAGES & message.keys():
                if message.pop(name) is not None and message.get("role") in (
                    "user",
                    "system",
                    "developer",
                    "assistant",
                ):
                    param = f"messages[{index}].{name}"
                    raise bad_request("unsupported_parameter", f"{param} is not supported.", param)


def _check_together(request: ChatRequest) -> None:
    both = {request.max_tokens, request.max_completion_tokens} - {None}
    if len(both) > 1:
        raise bad_request("invalid_value", "max_tokens and max_completion_tokens differ.", "max_completion_tokens")
    if request.stream_options is not None and not request.stream:
        raise bad_request("invalid_value", "stream_options needs stream: true.", "stream_options")
    if request.top_logprobs is not None and not request.logprobs:
        raise bad_request("invalid_value", "top_logprobs needs logprobs: true.", "top_logprobs")
    if request.length_penalty not in (None, 1.0):
        message = "length_penalty belongs to beam search, which is not supported; leave it out or send 1.0."
        raise bad_request("unsupported_parameter", message, "length_penalty")
    for index, said in enumerate(request.messages):
        if index > 0 and said.role in ("system", "developer"):
            text = "Only the first message may have the role system or developer."
            raise bad_request("invalid_value", text, f"messages[{index}].role")
    for token, bias in (request.logit_bias or {}).items():
        if not (token.isascii() and token.isdigit() and len(token) < 10 and -100 <= bias <= 100):
            message = "logit_bias maps token ids to numbers from -100 to 100."
            raise bad_request("invalid_value", message, "logit_bias")
    if len(request.logit_bias or {}) > 300:
        raise bad_request("invalid_value", "logit_bias may name at most 300 tokens.", "logit_bias")
