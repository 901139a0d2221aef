"""The shapes of responses, for /openapi.json. Responses are built as plain dictionaries; tests hold them to these.

A later release may add fields, as OpenAI does: clients ignore what they do not know.
"""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue


class ErrorBody(BaseModel):
    """What was wrong."""

    message: str = Field(description="A sentence for a person.")
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None = Field(description="The field that is wrong.")
    code: str = Field(description="A fixed word, for programs.")


class Error(BaseModel):
    """Every error has this form."""

    error: ErrorBody


class Likely(BaseModel):
    """A token, and the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(Likely):
    """A token of the answer, and the likeliest in its place."""

    top_logprobs: list[Likely]


class Logprobs(BaseModel):
    """How likely the tokens of a choice were."""

    content: list[TokenLogprob]
    refusal: None


class Called(BaseModel):
    """What is called, and with which arguments."""

    name: str
    arguments: str = Field(description="JSON.")


class ToolCall(BaseModel):
    """A call of a tool."""

    id: str = Field(description="For the message of role tool that answers it.")
    type: Literal["function"]
    function: Called


class Message(BaseModel):
    """What the model says."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCall] | None = None


class Choice(BaseModel):
    """One complete answer."""

    index: int
    message: Message
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class PromptDetails(BaseModel):
    """What the prompt is made of, in tokens."""

    cached_tokens: int = Field(ge=0, description="Found computed already.")
    image_tokens: int = Field(ge=0, description="That stand for pictures.")


class Usage(BaseModel):
    """What a request cost, in tokens."""

    prompt_tokens: int = Field(ge=1)
    completion_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=1)
    prompt_tokens_details: PromptDetails


class Completion(BaseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="Seconds since 1970.")
    model: str
    choices: list[Choice] = Field(min_length=1)
    usage: Usage


class CalledPiece(BaseModel):
    """The name comes first, then the arguments in pieces."""

    name: str | None = None
    arguments: str


class ToolCallPiece(BaseModel):
    """What a call of a tool gained. Only the first piece has an id, a type and a name."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: CalledPiece


class Delta(BaseModel):
    """What a choice gained."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[ToolCallPiece] | None = None


class Piece(BaseModel):
    """What one choice gained."""

    index: int
    delta: Delta
    logprobs: Logprobs | None
    finish_reason: str | None


class Chunk(BaseModel):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[Piece]
    usage: Usage | None = Field(None, description="Of the last event, if it was asked for.")


class Template(BaseModel):
    """A prompt, and what it would cost."""

    prompt: str
    prompt_tokens: int = Field(ge=1)
    image_tokens: list[int] = Field(description="Of each picture.")
    max_tokens: int = Field(ge=1)


class Tokens(BaseModel):
    """A text or a conversation as token ids."""

    count: int = Field(ge=0)
    max_model_len: int
    tokens: list[int]
    image_tokens: list[int]


class Model(BaseModel):
    """A model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int = Field(description="Longest prompt and answer together, in tokens.")


class Models(BaseModel):
    """The list of models."""

    object: Literal["list"]
    data: list[Model]


class Config(BaseModel):
    """The live configuration."""

    hash: str | None = Field(description="First 12 hex digits of the applied file's SHA-256.")
    error: str | None = Field(description="Why the newest file was refused.")


class Readiness(BaseModel):
    """Whether requests are taken."""

    status: Literal["loading", "ready", "draining"]
    config: Config


class ServedModel(BaseModel):
    """The model, and how it is computed."""

    name: str
    dtype: str
    device: str


class Engine(BaseModel):
    """One engine."""

    index: int
    state: str
    running: int
    waiting: int
    kv_blocks_used: int
    kv_blocks_total: int
    preemptions: int
    restarts: int


class Health(Readiness):
    """Everything about a server."""

    model: ServedModel
    engines: list[Engine]
    vlm_config: dict[str, JsonValue]
