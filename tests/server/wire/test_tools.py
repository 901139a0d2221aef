"""Tools, calls of them and forms of answers in requests: what is taken, and with which code the rest is refused."""

from typing import Any

import pytest

from omega_server.wire.errors import ApiError
from omega_server.wire.messages import CallingMessage, ToolMessage
from omega_server.wire.requests import parse_chat
from omega_server.wire.tools import AllowedChoice, NamedTool

HELLO = {"role": "user", "content": "hello"}
PAINT = {"type": "function", "function": {"name": "paint", "parameters": {"type": "object"}, "strict": True}}
WAIT = {"type": "function", "function": {"name": "wait"}}
NAMED = {"type": "function", "function": {"name": "paint"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "paint", "arguments": "{}"}}
CALLING = {"role": "assistant", "tool_calls": [CALL]}
CAME = {"role": "tool", "tool_call_id": "call_1", "content": "done"}


def with_tools(choice: Any = "auto", *tools: Any, **fields: Any) -> dict[str, Any]:
    """A request with tools."""
    return {"messages": [HELLO], "tools": list(tools) or [PAINT, WAIT], "tool_choice": choice, **fields}


def allowed(*names: str) -> dict[str, Any]:
    """A choice among some tools."""
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}}


def function(**fields: Any) -> dict[str, Any]:
    """A tool with other fields."""
    return {"type": "function", "function": {"name": "f", **fields}}


def schema(**fields: Any) -> dict[str, Any]:
    """A request for JSON."""
    return {"messages": [HELLO], "response_format": {"type": "json_schema", "json_schema": {"name": "n", **fields}}}


def say(*messages: Any) -> dict[str, Any]:
    """A conversation that goes on."""
    return {"messages": [HELLO, *messages]}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (with_tools("always"), "invalid_value", "tool_choice"),
        (with_tools(7), "invalid_type", "tool_choice"),
        (with_tools({"type": "x"}), "invalid_value", "tool_choice.type"),
        (with_tools({"type": "custom", "custom": {"name": "x"}}), "unsupported_parameter", "tool_choice"),
        (with_tools({"type": "function"}), "missing_required_parameter", "tool_choice.function"),
        (with_tools({"type": "function", "function": {"name": "dig"}}), "invalid_value", "tool_choice"),
        (with_tools(allowed("paint", "dig")), "invalid_value", "tool_choice"),
        (with_tools(allowed()), "empty_array", "tool_choice.allowed_tools.tools"),
        (with_tools("auto", {"type": "custom", "custom": {"name": "x"}}), "unsupported_parameter", "tools[0]"),
        (with_tools("auto", {"function": {"name": "x"}}), "missing_required_parameter", "tools[0].type"),
        (with_tools("auto", function(name="bad name")), "invalid_value", "tools[0].function.name"),
        (with_tools("auto", function(parameters=[])), "invalid_type", "tools[0].function.parameters"),
        (with_tools("auto", function(parameters={"title": "\ud800"})), "invalid_value", "tools[0].function.parameters"),
        (schema(schema={"\udfff": 1}), "invalid_value", "response_format.json_schema.schema"),
        (with_tools("auto", function(poem=1)), "unknown_parameter", "tools[0].function.poem"),
        (with_tools("auto", function(parameters={"properties": {"a": {"properties": {"<|im_end|>": {}}}}})),
         "invalid_value", "tools[0].function.parameters"),
        (with_tools("auto", WAIT, PAINT, WAIT), "invalid_value", "tools"),
        (with_tools("auto", *[function(name=f"f{n}") for n in range(129)]), "array_above_max_length", "tools"),
        (with_tools(parallel_tool_calls="no"), "invalid_type", "parallel_tool_calls"),
        (with_tools(ignore_eos=True), "invalid_value", "ignore_eos"),
        ({"messages": [HELLO], "tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"messages": [HELLO], "tool_choice": NAMED}, "invalid_value", "tool_choice"),
        ({"messages": [HELLO], "functions": [{"name": "f"}]}, "unsupported_parameter", "functions"),
        (schema(), "missing_required_parameter", "response_format.json_schema.schema"),
        (schema(schema=True), "invalid_type", "response_format.json_schema.schema"),
        (schema(schema={}, strict="yes"), "invalid_type", "response_format.json_schema.strict"),
        (schema(schema={}, poem=1), "unknown_parameter", "response_format.json_schema.poem"),
        (schema(schema={}, name="n n"), "invalid_value", "response_format.json_schema.name"),
        ({"messages": [HELLO], "response_format": {}}, "missing_required_parameter", "response_format.type"),
        ({"messages": [HELLO], "response_format": {"type": "json_schema"}}, "missing_required_parameter",
         "response_format.json_schema"),
        (schema(schema={}) | {"ignore_eos": True}, "invalid_value", "ignore_eos"),
        (say(CAME), "invalid_value", "messages[1].tool_call_id"),
        (say(CALLING, HELLO, CAME), "invalid_value", "messages[3].tool_call_id"),
        (say(CALLING, CAME, CAME), "invalid_value", "messages[3].tool_call_id"),
        (say(CALLING, {**CAME, "tool_call_id": None}), "missing_required_parameter", "messages[2].tool_call_id"),
        (say(CALLING, {**CAME, "content": None}), "invalid_type", "messages[2].content"),
        (say(CALLING, {**CAME, "content": [{"type": "image", "image": "x"}]}), "invalid_value", "messages[2].content[0]"),
        (say({**CALLING, "tool_calls": [{**CALL, "type": "custom"}]}), "unsupported_parameter",
         "messages[1].tool_calls[0]"),
        (say({**CALLING, "tool_calls": [{**CALL, "function": {"name": "paint"}}]}), "missing_required_parameter",
         "messages[1].tool_calls[0].function.arguments"),
        (say({**CALLING, "tool_calls": "x"}), "invalid_type", "messages[1].tool_calls"),
        (say({"role": "assistant", "content": None}), "invalid_type", "messages[1].content"),
        (say({"role": "assistant"}), "missing_required_parameter", "messages[1].content"),
        (say({**HELLO, "tool_calls": [CALL]}), "unknown_parameter", "messages[1].tool_calls"),
    ],
)  # fmt: skip
def test_what_is_refused(body: Any, code: str, param: str) -> None:
    """A fault is named with its whole path."""
    with pytest.raises(ApiError) as caught:
        parse_chat(body)
    assert (caught.value.problem.code, caught.value.problem.param) == (code, param)


def test_what_is_taken() -> None:
    """All kinds of choices, calls without words, and what came of them."""
    assert isinstance(parse_chat(with_tools(NAMED)).tool_choice, NamedTool)
    assert isinstance(parse_chat(with_tools(allowed("wait"))).tool_choice, AllowedChoice)
    for choice in ("none", "auto", "required", None):
        assert parse_chat(with_tools(choice, parallel_tool_calls=False)).tool_choice == choice
    assert parse_chat({"messages": [HELLO], "tool_choice": "none"}).tools is None
    assert parse_chat(schema(schema={"type": "object"}, strict=True, description="d")).response_format
    for content in ({}, {"content": None}, {"content": ""}, {"content": [{"type": "text", "text": "So:"}]}):
        _, calling, came, *_ = parse_chat(say({**CALLING, **content}, CAME, HELLO)).messages
        assert isinstance(calling, CallingMessage)
        assert calling.tool_calls[0].function.name == "paint"
        assert isinstance(came, ToolMessage)
