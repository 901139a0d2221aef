"""Tools that the model may call, which of them it must, and the calls in a conversation."""

from typing import Annotated, Any, Literal, NoReturn

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from omega_server.wire.formats import Name, Schema
from omega_server.wire.strict import Strict, by

MAX_ARGUMENTS = 1024 * 1024
"""Longest arguments of a call, in characters."""


class Function(Strict):
    """What can be called, what it is for, and the schema of its arguments."""

    name: Name
    description: Annotated[str, Field(max_length=8192)] | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class FunctionTool(Strict):
    """A function of the client's."""

    type: Literal["function"]
    function: Function


def _refuse(value: Any) -> NoReturn:
    raise PydanticCustomError(
        "unsupported_parameter", "{kind} is not supported, only function", {"kind": value["type"]}
    )


Refused = Annotated[Any, BeforeValidator(_refuse), Tag("<custom>")]
_KINDS = {"function": "<function>", "custom": "<custom>"}
Tool = Annotated[Annotated[FunctionTool, Tag("<function>")] | Refused, Discriminator(by("type", _KINDS))]


class Named(Strict):
    """A function, by its name."""

    name: Name


class NamedTool(Strict):
    """One tool."""

    type: Literal["function"]
    function: Named


class AllowedTools(Strict):
    """Some of the tools, and whether one must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=128)]


class AllowedChoice(Strict):
    """Only some of the tools may be called."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


_by_type = by("type", {**_KINDS, "allowed_tools": "<allowed_tools>"})


def _choice(value: Any) -> str | None:
    return "<word>" if isinstance(value, str) else _by_type(value)


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<word>")]
    | Annotated[NamedTool, Tag("<function>")]
    | Annotated[AllowedChoice, Tag("<allowed_tools>")]
    | Refused,
    Discriminator(_choice),
]


class Called(Strict):
    """What was called, and how."""

    name: Name
    arguments: Annotated[str, Field(max_length=MAX_ARGUMENTS)]


class ToolCall(Strict):
    """A call that the model has made."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"]
    function: Called


Call = Annotated[Annotated[ToolCall, Tag("<function>")] | Refused, Discriminator(by("type", _KINDS))]
