"""A chat request: every field is implemented or refused by name, and nothing is ignored.

Types are strict: true is no number and "7" neither. Limits that only the live configuration knows are checked in
`chat`, with the same codes.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from omega_server.wire.errors import bad_request
from omega_server.wire.faults import first_fault
from omega_server.wire.messages import UNSUPPORTED_IN_MESSAGES, Message
from omega_server.wire.strict import Strict
from omega_server.wire.unsupported import ALREADY_SO, UNSUPPORTED

MAX_STOP = 1024
"""Longest stop string, in characters."""
MAX_PLAIN = 1024 * 1024
"""Longest text to tokenize without a conversation, in characters."""


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

    model: Annotated[str, Field(max_length=MAX_PLAIN)] | None = None
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

    model: Annotated[str, Field(max_length=MAX_PLAIN)] | None = None
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
