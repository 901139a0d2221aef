"""/openapi.json: generated from the models that parse the requests, the shapes of responses and the table of codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from omega_server.wire import shapes
from omega_server.wire.codes import CODES
from omega_server.wire.messages import MAX_TEXT
from omega_server.wire.requests import ChatRequest, TokenizeRequest
from omega_server.wire.unsupported import ALREADY_SO, UNSUPPORTED

EVERYWHERE = (400, 401, 408, 413, 431, 500)
"""Statuses that any request may get, by what is wrong around it."""
ASKING = (415, 503)
"""And any with a body."""
JSON = "application/json"
REASONS = {
    400: "Something in the request is wrong.",
    401: "No valid key.",
    404: "There is no such model, or no such path.",
    408: "The request did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not plain JSON.",
    429: "Too many requests wait.",
    431: "The header is too large.",
    500: "The server failed.",
    503: "The server is loading, stopping, or out of memory.",
}


@dataclass(frozen=True)
class Operation:
    """One path and method.

    Attributes:
        method: in lower case.
        path: as the routes have it.
        summary: one sentence.
        answers: the body by media type, as model or, for other than JSON, as schema.
        asks: what the body of a request may be.
        errors: statuses of errors beyond `EVERYWHERE`.
        unready: shape of an answer with 503 that is no error.
        open: whether it needs no key.
    """

    method: str
    path: str
    summary: str
    answers: Mapping[str, type[BaseModel] | JsonSchemaValue]
    asks: Sequence[type[BaseModel]] = ()
    errors: tuple[int, ...] = ()
    unready: type[BaseModel] | None = None
    open: bool = False


EVENTS: JsonSchemaValue = {
    "type": "string",
    "description": "With `stream: true`: lines `data: {...}` with a chat.completion.chunk each, then `data: [DONE]`.",
}
PLAIN: JsonSchemaValue = {"type": "string"}
OPERATIONS = (
    Operation(
        "post",
        "/v1/chat/completions",
        "Answer a conversation.",
        {JSON: shapes.Completion, "text/event-stream": EVENTS},
        asks=(ChatRequest,),
        errors=(404, *ASKING, 429),
    ),
    Operation(
        "post",
        "/v1/apply_template",
        "The prompt of a conversation, without asking an engine.",
        {JSON: shapes.Template},
        asks=(ChatRequest,),
        errors=(404, *ASKING),
    ),
    Operation(
        "post",
        "/v1/tokenize",
        "The token ids of a text or a conversation.",
        {JSON: shapes.Tokens},
        asks=(TokenizeRequest, ChatRequest),
        errors=(404, *ASKING),
    ),
    Operation("get", "/v1/models", "The one model.", {JSON: shapes.Models}),
    Operation("get", "/v1/models/{name}", "A model by its name.", {JSON: shapes.Model}, errors=(404,)),
    Operation("get", "/health", "Everything about this server.", {JSON: shapes.Health}, unready=shapes.Health),
    Operation("get", "/metrics", "Metrics for Prometheus.", {"text/plain": PLAIN}),
    Operation("get", "/openapi.json", "This document.", {JSON: {"type": "object"}}),
    Operation("get", "/live", "Whether the process answers.", {JSON: shapes.Readiness}, open=True),
    Operation(
        "get", "/ready", "Whether requests are taken.", {JSON: shapes.Readiness}, unready=shapes.Readiness, open=True
    ),
    Operation("get", "/", "The playground.", {"text/html": PLAIN}, open=True),
)


class _Schema(GenerateJsonSchema):
    """What pydantic makes of the models, and what it cannot see: which choices are there to be refused, and what a
    validator takes before the field does.
    """

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """A choice, without those that only say why something is refused."""
        choices = {tag: choice for tag, choice in schema["choices"].items() if tag != "<refused>"}
        return super().tagged_union_schema({**schema, "choices": choices})

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """A list that may be one of its items instead."""
        inner = super().function_before_schema(schema)
        match getattr(schema["function"]["function"], "__name__", ""):
            case "_as_parts":
                return {"anyOf": [{"type": "string", "maxLength": MAX_TEXT}, inner]}
            case "_as_list":
                return {"anyOf": [inner["items"], inner]}
        return inner


def document(version: str) -> dict[str, Any]:
    """The document of a release."""
    every: dict[type[BaseModel], JsonSchemaMode] = {shapes.Error: "serialization", shapes.Chunk: "serialization"}
    for operation in OPERATIONS:
        every |= dict.fromkeys(operation.asks, "validation")
        given = [*operation.answers.values(), operation.unready]
        every |= {shape: "serialization" for shape in given if isinstance(shape, type)}
    keys, definitions = models_json_schema(
        list(every.items()), ref_template="#/components/schemas/{model}", schema_generator=_Schema
    )
    references = {model: schema for (model, _), schema in keys.items()}
    schemas = definitions["$defs"]
    _add_what_is_already_so(schemas[ChatRequest.__name__])
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Omega VLM", "version": version, "description": "Answers about pictures, as OpenAI has it."},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {str(status): _error(status, references[shapes.Error]) for status in REASONS},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _operation(operation: Operation, references: Mapping[Any, JsonSchemaValue]) -> dict[str, Any]:
    content = {
        kind: {"schema": references[shape] if isinstance(shape, type) else shape}
        for kind, shape in operation.answers.items()
    }
    statuses = sorted({*EVERYWHERE, *operation.errors} - ({401} if operation.open else set()))
    responses: dict[str, Any] = {"200": {"description": "The answer.", "content": content}}
    responses |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}
    if operation.unready is not None:
        schema = references[operation.unready]
        responses["503"] = {"description": "Not ready.", "content": {JSON: {"schema": schema}}}
    body: dict[str, Any] = {"summary": operation.summary, "responses": responses}
    if operation.asks:
        asked = [references[model] for model in operation.asks]
        schema = asked[0] if len(asked) == 1 else {"anyOf": asked}
        body["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    if "{name}" in operation.path:
        body["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    if operation.open:
        body["security"] = []
    return body


def _error(status: int, reference: JsonSchemaValue) -> dict[str, Any]:
    known = {"properties": {"error": {"properties": {"code": {"enum": list(CODES[status])}}}}}
    response: dict[str, Any] = {
        "description": REASONS[status],
        "content": {JSON: {"schema": {"allOf": [reference, known]}}},
    }
    header = {429: "Retry-After", 503: "Retry-After", 401: "WWW-Authenticate"}.get(status)
    if header is not None:
        response["headers"] = {header: {"required": True, "schema": {"type": "string"}}}
    return response


def _add_what_is_already_so(schema: JsonSchemaValue) -> None:
    """Fields that are refused, unless they say what happens anyway."""
    for name in sorted(UNSUPPORTED):
        words = {"description": "Not supported; taken if it asks for what happens anyway."}
        schema["properties"][name] = words | {"enum": [None, *ALREADY_SO.get(name, ())]}
