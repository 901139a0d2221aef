"""What goes over a chat's WebSocket: text messages, one JSON object each.

A client sends a `request`, with an id of its own choice and the body of a chat request, or a `cancel`. It gets, under the same
id, each `chunk` of the answer and then `done`; or an `error`; or `cancelled`.
"""

from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from omega_server.wire.errors import Problem, bad_request
from omega_server.wire.faults import first_fault
from omega_server.wire.requests import ChatRequest, parse_chat
from omega_server.wire.strict import Strict

Id = Annotated[str, Field(min_length=1, max_length=128)]


class Ask(Strict):
    """Answer this, as a stream."""

    type: Literal["request"]
    id: Id
    request: dict[str, Any]


class Cancel(Strict):
    """Stop answering that."""

    type: Literal["cancel"]
    id: Id


_KINDS: dict[object, TypeAdapter[Ask | Cancel]] = {"request": TypeAdapter(Ask), "cancel": TypeAdapter(Cancel)}


def parse(value: Any) -> Ask | Cancel:
    """The message that a JSON value stands for.

    Raises:
        ApiError: 400, with the first fault's code and field.
    """
    if not isinstance(value, dict):
        raise bad_request("invalid_type", "A message must be a JSON object.")
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise bad_request("invalid_value", "type must be request or cancel.", "type")
    try:
        return _KINDS[kind].validate_python(value)
    except ValidationError as error:
        raise first_fault(error.errors(include_url=False)) from error


def chat(body: dict[str, Any]) -> ChatRequest:
    """The chat request of an `Ask`. It is a stream, whether it says so or not.

    Raises:
        ApiError: 400, with the first fault's code and field.
    """
    if body.get("stream") is None:
        body = {**body, "stream": True}
    request = parse_chat(body)
    if not request.stream:
        raise bad_request("invalid_value", "A WebSocket only streams; leave stream out.", "stream")
    return request


def chunk(name: str, body: dict[str, Any]) -> str:
    """A piece of an answer, as server-sent events have it."""
    return _text({"type": "chunk", "id": name, "chunk": body})


def done(name: str) -> str:
    """The answer is complete."""
    return _text({"type": "done", "id": name})


def cancelled(name: str) -> str:
    """Nothing more will come, as the client wanted."""
    return _text({"type": "cancelled", "id": name})


def error(name: str | None, problem: Problem) -> str:
    """What went wrong with a request, or with a message that has no usable id; nothing more will come of it."""
    told = {"type": "error", "id": name, "status": problem.status, **problem.body()}
    return _text(told if problem.retry_after is None else {**told, "retry_after": problem.retry_after})


def _text(message: dict[str, Any]) -> str:
    return orjson.dumps(message).decode()
