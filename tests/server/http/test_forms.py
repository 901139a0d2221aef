"""Answers of a form as OpenAI's own client asks for them: JSON by a schema, and calls of tools, whole and as streams."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import jsonschema
import pytest
from demo_server import KEY, Configured, circle, shown, uri
from openai import BadRequestError, OpenAI
from pydantic import BaseModel

pytestmark = pytest.mark.timeout(1200)  # the first test waits for the server

COATS = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "coats": {"type": "integer", "minimum": 1, "maximum": 3}},
    "required": ["colour", "coats"],
    "additionalProperties": False,
}
PAINT = {"type": "function", "function": {"name": "paint", "description": "Paints it.", "parameters": COATS}}
WAIT = {"type": "function", "function": {"name": "wait"}}
NAMED = {"type": "function", "function": {"name": "paint"}}


class Seen(BaseModel):
    """What is in a picture."""

    colour: Literal["red", "green", "blue"]
    shapes: list[Literal["circle", "square"]]


@pytest.fixture
def client(server: Configured) -> Iterator[OpenAI]:
    """OpenAI's client."""
    with OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def ask(client: OpenAI, content: Any = "hello", **fields: Any) -> Any:
    """An answer, greedy unless told otherwise."""
    messages = [{"role": "user", "content": content}]
    return client.chat.completions.create(**{"model": "demo", "messages": messages, "temperature": 0, **fields})


def test_parsed(client: OpenAI) -> None:
    """The client's own parse gives an object of the class that it was asked for."""
    messages: Any = [{"role": "user", "content": shown(uri(circle("green")))}]
    parsed = client.chat.completions.parse(
        model="demo", messages=messages, response_format=Seen, temperature=0, max_tokens=400,
        extra_body={"repetition_penalty": 1.2},
    )  # fmt: skip
    assert parsed.choices[0].finish_reason == "stop"
    assert isinstance(parsed.choices[0].message.parsed, Seen)


def test_every_choice_has_the_form(client: OpenAI) -> None:
    """Several choices, drawn, each validate; a stream with the same seed says the same."""
    schema = {"name": "coats", "schema": COATS, "strict": True}
    fields: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": schema}, "n": 3,
                              "temperature": 1.5, "seed": 3, "logprobs": True, "max_tokens": 400}  # fmt: skip
    whole = ask(client, **fields)
    texts = [choice.message.content for choice in whole.choices]
    for choice in whole.choices:
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content), COATS)
        assert "".join(item.token for item in choice.logprobs.content).startswith(choice.message.content)
    streamed = ["", "", ""]
    for chunk in ask(client, stream=True, **fields):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


def test_any_object(client: OpenAI) -> None:
    """A JSON object of any kind is JSON as far as it goes; what is cut off says so, and so does a stop string."""
    cut = ask(client, response_format={"type": "json_object"}, max_tokens=2)
    assert cut.choices[0].finish_reason == "length"
    assert cut.choices[0].message.content.startswith("{")
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": COATS}}
    stopped = ask(client, response_format=form, max_tokens=400, stop=["coats"])
    assert stopped.choices[0].message.content.rstrip().endswith('"')
    assert stopped.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_calls_that_must_be(client: OpenAI, choice: Any) -> None:
    """A call that must be made is made, with arguments that validate; a stream tells its name first."""
    fields: dict[str, Any] = {"tools": [PAINT, WAIT], "tool_choice": choice, "parallel_tool_calls": False,
                              "temperature": 1.5, "seed": 11, "max_tokens": 400}  # fmt: skip
    (answer,) = ask(client, **fields).choices
    assert answer.finish_reason == "tool_calls"
    assert answer.message.content is None
    (call,) = answer.message.tool_calls
    assert call.id.startswith("call_")
    arguments = json.loads(call.function.arguments)
    assert choice == "required" or call.function.name == "paint"
    if call.function.name == "paint":
        jsonschema.validate(arguments, COATS)
    first, *rest = [
        tool_call
        for chunk in ask(client, stream=True, **fields)
        for choice in chunk.choices
        for tool_call in choice.delta.tool_calls or ()
    ]
    assert (first.index, first.type, first.function.name) == (0, "function", call.function.name)
    assert first.id.startswith("call_")
    assert {(piece.index, piece.id, piece.function.name) for piece in rest} <= {(0, None, None)}
    assert "".join(piece.function.arguments for piece in [first, *rest]) == call.function.arguments
    reasons = [choice.finish_reason for chunk in ask(client, stream=True, **fields) for choice in chunk.choices]
    assert reasons == [None] * (len(reasons) - 1) + ["tool_calls"]


def test_a_conversation_with_calls(client: OpenAI, server: Configured) -> None:
    """A call and what came of it go back to the model, in the order of the calls, as the template writes them."""
    calls: list[Any] = [
        {"id": name, "type": "function", "function": {"name": "paint", "arguments": '{"n": 1}'}} for name in ("a", "b")
    ]
    messages = [
        {"role": "user", "content": "Paint it."},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "b", "content": "second"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "first"}]},
    ]
    body: dict[str, Any] = {"messages": messages, "tools": [PAINT]}
    prompt = server.client.post("/v1/apply_template", json=body).json()
    assert '"name": "paint"' in prompt["prompt"].partition("\n</tools>")[0]
    assert prompt["prompt"].count('<tool_call>\n{"name": "paint", "arguments": {"n": 1}}\n</tool_call>') == 2
    assert prompt["prompt"].index("first\n</tool_response>") < prompt["prompt"].index("second\n</tool_response>")
    answer = ask(client, messages=messages, tools=[PAINT], max_tokens=5)
    assert answer.usage.prompt_tokens == prompt["prompt_tokens"]
    without = server.client.post("/v1/apply_template", json=body | {"tool_choice": "none"}).json()
    assert "<tools>" not in without["prompt"]


def test_words_stay_words(client: OpenAI) -> None:
    """With tools that may be called, an answer in words is the model's own, and ends as ever."""
    answer = ask(client, shown(uri(circle("blue"))), tools=[WAIT], max_tokens=60).choices[0]
    assert answer.finish_reason in ("stop", "length", "tool_calls")
    assert answer.message.content or answer.message.tool_calls


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"pattern": "(a+)+$"}, "response_format.json_schema.schema"),
        ({"not": {}}, "response_format.json_schema.schema"),
        ({"$ref": "#/nowhere"}, "response_format.json_schema.schema"),
    ],
)
def test_schemas_that_are_refused(client: OpenAI, fields: Any, param: str) -> None:
    """What cannot be enforced, or costs too much, is a fault of the request."""
    schema = {"name": "n", "strict": True, "schema": {"type": "string", **fields}}
    with pytest.raises(BadRequestError) as caught:
        ask(client, response_format={"type": "json_schema", "json_schema": schema})
    assert (caught.value.code, caught.value.param) == ("invalid_json_schema", param)


def test_tools_that_are_refused(client: OpenAI) -> None:
    """The tool whose arguments cannot be enforced is named."""
    for parameters in ({"type": "array"}, {"properties": {"a": {"pattern": "(?=a)"}}}):
        bad = {"type": "function", "function": {"name": "bad", "parameters": parameters}}
        with pytest.raises(BadRequestError) as caught:
            ask(client, tools=[WAIT, bad])
        assert (caught.value.code, caught.value.param) == ("invalid_json_schema", "tools[1].function.parameters")
