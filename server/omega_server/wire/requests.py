"""A chat request: every field is implemented or refused by name, and nothing is ignored.

Types are strict: true is no number and "7" neither. Limits that only the live configuration knows are checked in
`chat`, with the same codes.
"""

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from omega_server.wire.errors import bad_request
from omega_server.wire.faults import first_fault
from omega_server.wire.formats import ResponseFormat, TextFormat
from omega_server.wire.messages import UNSUPPORTED_IN_MESSAGES, CallingMessage, Message, ToolMessage
from omega_server.wire.strict import Strict
from omega_server.wire.tools import AllowedChoice, NamedTool, Tool, ToolChoice
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
    tools: Annotated[list[Tool], Field(min_length=1, max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    safety_identifier: Annotated[str, Field(max_length=512)] | None = None
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
            for name in ("tool_calls", "tool_call_id"):
                if name in message and message[name] in (None, []):
                    del message[name]
            for name in UNSUPPORTED_IN_MESSAGES & message.keys():
                if message.pop(name) not in (None, []):
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
    _check_tools(request)
    _check_calls(request)


def _check_tools(request: ChatRequest) -> None:
    tools = request.tools or []
    names = [tool.function.name for tool in tools]
    if len(set(names)) < len(names):
        raise bad_request("invalid_value", "Two tools have the same name.", "tools")
    for index, tool in enumerate(tools):
        # Templates write names of properties as they are, and this is how control tokens begin.
        if any("<" in name for name in _names(tool.function.parameters)):
            param = f"tools[{index}].function.parameters"
            raise bad_request("invalid_value", f"{param}: no name in it may have the letter <.", param)
    choice = request.tool_choice
    if isinstance(choice, NamedTool):
        wanted = [choice.function.name]
    elif isinstance(choice, AllowedChoice):
        wanted = [tool.function.name for tool in choice.allowed_tools.tools]
    else:
        wanted = []
    if choice not in (None, "none", "auto") and not tools:
        raise bad_request("invalid_value", "tool_choice needs tools.", "tool_choice")
    if not set(wanted) <= set(names):
        raise bad_request("invalid_value", "tool_choice names a tool that is not among the tools.", "tool_choice")
    formed = request.response_format is not None and not isinstance(request.response_format, TextFormat)
    if request.ignore_eos and (formed or (tools and choice != "none")):
        raise bad_request(
            "invalid_value", "ignore_eos cannot go with tools or JSON: such an answer has an end.", "ignore_eos"
        )


def _check_calls(request: ChatRequest) -> None:
    """What came of a call stands after the call."""
    called: set[str] = set()
    for index, said in enumerate(request.messages):
        if isinstance(said, CallingMessage):
            called = {call.id for call in said.tool_calls}
        elif isinstance(said, ToolMessage):
            if said.tool_call_id not in called:
                text = "A message of role tool answers a call of the last message with tool_calls, each once."
                raise bad_request("invalid_value", text, f"messages[{index}].tool_call_id")
            called.remove(said.tool_call_id)
        else:
            called = set()


def _names(schema: Any) -> Iterator[str]:
    """The names of all members, however deep. JSON of a request is not deep."""
    if isinstance(schema, dict):
        yield from schema
    for child in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _names(child)
