"""/openapi.json is true: what it says may be asked may be, and every answer is one that it announces."""

import os
from typing import Any

import pytest
import schemathesis
from bad_inputs import chat
from demo_server import KEY, Configured, circle, shown, uri
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi_checks
from test_routes import OPEN, ROUTES

from omega_server import __version__
from omega_server.wire import shapes
from omega_server.wire.openapi import document

pytestmark = pytest.mark.timeout(1200)  # the first test waits for the server

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "10"))
"""Requests per operation; set the variable for a longer run."""


def test_every_route_is_described() -> None:
    """Each route is in the document with its method, and whether it needs a key."""
    described = {
        (path, method.upper(), operation.get("security") != [])
        for path, methods in document(__version__)["paths"].items()
        for method, operation in methods.items()
    }
    routed = {
        (path.replace(":path", ""), method, path not in OPEN)
        for path, methods in ROUTES
        for method in methods
        if not path.startswith("/playground/")  # the page's own files
    }
    assert described == routed


ANSWERS: list[tuple[str, str, dict[str, Any] | None, type[BaseModel]]] = [
    ("POST", "/v1/chat/completions", chat(max_tokens=2), shapes.Completion),
    (
        "POST",
        "/v1/chat/completions",
        chat(max_tokens=2, n=2, temperature=1, logprobs=True, top_logprobs=2),
        shapes.Completion,
    ),
    ("POST", "/v1/apply_template", chat(shown(uri(circle("red")))), shapes.Template),
    ("POST", "/v1/tokenize", chat(shown(uri(circle("red")))), shapes.Tokens),
    ("POST", "/v1/tokenize", {"prompt": ""}, shapes.Tokens),
    ("GET", "/v1/models", None, shapes.Models),
    ("GET", "/v1/models/demo", None, shapes.Model),
    ("GET", "/v1/models/x", None, shapes.Error),
    ("GET", "/health", None, shapes.Health),
    ("GET", "/ready", None, shapes.Readiness),
]


@pytest.mark.parametrize(("method", "path", "body", "shape"), ANSWERS)
def test_shapes(server: Configured, method: str, path: str, body: Any, shape: type[BaseModel]) -> None:
    """Answers have the shapes that the document gives them."""
    response = server.client.request(method, path, json=body)
    shape.model_validate_json(response.content, strict=True)


SCHEMA = schemathesis.openapi.from_dict(document(__version__))
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]
CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.negative_data_rejection,
]


RUNS = [
    (operation, mode)
    for operation in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or operation.body  # without a body there is nothing to get wrong
]


@pytest.mark.parametrize(("operation", "mode"), RUNS, ids=[f"{run.label}-{mode.value}" for run, mode in RUNS])
def test_as_described(server: Configured, operation: Any, mode: GenerationMode) -> None:
    """Whatever is asked by the document, or against it, has an answer that the document has."""

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if isinstance(case.body, dict) and case.body.get("max_tokens") is None:
            case.body["max_tokens"] = 2  # so that answers end soon
        response = case.call(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=120)
        case.validate_response(response, checks=CHECKS)

    ask()
