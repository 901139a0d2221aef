"""Which form an answer must have, and which tools it may call, by what the request says."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal

from omega_server.engine.request import InvalidGrammar
from omega_server.forms.grammar import Form, Schema, Tool
from omega_server.wire.errors import bad_request
from omega_server.wire.formats import ObjectFormat, SchemaFormat
from omega_server.wire.requests import ChatRequest
from omega_server.wire.tools import AllowedChoice, FunctionTool, NamedTool

_ANY_OBJECT = {"type": "object"}
_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
_SCHEMA = "response_format.json_schema.schema"

Validate = Callable[[str], None]
"""Sees whether a grammar can be enforced; raises InvalidGrammar. In another process: native code reads users' input there."""


async def grammar_of(request: ChatRequest, validate: Validate) -> str | None:
    """The grammar that the answer must follow; None if it may be anything.

    Raises:
        ApiError: a schema cannot be enforced, or would cost too much.
    """
    if not tools_of(request) and not isinstance(request.response_format, ObjectFormat | SchemaFormat):
        return None
    return await asyncio.to_thread(_grammar, request, validate)


def tools_of(request: ChatRequest) -> list[FunctionTool]:
    """The tools that the model may call, and is told of."""
    choice, tools = request.tool_choice, request.tools or []
    if choice == "none":
        return []
    if isinstance(choice, NamedTool):
        return [tool for tool in tools if tool.function.name == choice.function.name]
    if isinstance(choice, AllowedChoice):
        allowed = {tool.function.name for tool in choice.allowed_tools.tools}
        return [tool for tool in tools if tool.function.name in allowed]
    return tools


def described(tools: Sequence[FunctionTool]) -> tuple[dict[str, Any], ...]:
    """Tools as chat templates have them."""
    return tuple(tool.model_dump(exclude_none=True, exclude={"function": {"strict"}}) for tool in tools)


def _grammar(request: ChatRequest, validate: Validate) -> str | None:
    asked, content = request.response_format, None
    if isinstance(asked, ObjectFormat):
        content = Schema(_ANY_OBJECT)
    elif isinstance(asked, SchemaFormat):
        content = Schema(asked.json_schema.body, bool(asked.json_schema.strict))
        _enforced(Form(content), _SCHEMA, _SCHEMA, validate)
    allowed = {tool.function.name for tool in tools_of(request)}
    tools = []
    for index, tool in enumerate(request.tools or ()):
        if tool.function.name in allowed:
            parameters = _parameters(tool, f"tools[{index}].function.parameters", validate)
            tools.append(Tool(tool.function.name, parameters))
    one = isinstance(request.tool_choice, NamedTool) or request.parallel_tool_calls is False
    form = Form(content, tools, _calls(request), not one)
    # Without tools it is what was looked at already, or what every JSON object is.
    return _enforced(form, "The schemas together", "tools", validate) if tools else form.grammar()


def _parameters(tool: FunctionTool, param: str, validate: Validate) -> Schema:
    body = _ANY_OBJECT | (_NO_ARGUMENTS if tool.function.parameters is None else tool.function.parameters)
    if body["type"] != "object":
        raise bad_request("invalid_json_schema", f"{param}: arguments are an object.", param)
    schema = Schema(body, bool(tool.function.strict))
    _enforced(Form(schema), param, param, validate)  # alone, to be able to say which one is wrong
    return schema


def _enforced(form: Form, what: str, param: str, validate: Validate) -> str | None:
    """The grammar of a form that can be enforced; `what` is named where it cannot."""
    try:
        grammar = form.grammar()
        if grammar is not None:
            validate(grammar)
    except InvalidGrammar as error:
        raise bad_request("invalid_json_schema", f"{what}: {error}.", param) from error
    return grammar


def _calls(request: ChatRequest) -> Literal["auto", "required"]:
    choice = request.tool_choice
    must = isinstance(choice, NamedTool) or choice == "required"
    must = must or (isinstance(choice, AllowedChoice) and choice.allowed_tools.mode == "required")
    return "required" if must else "auto"
