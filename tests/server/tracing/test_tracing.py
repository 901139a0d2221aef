"""Traces, as a collector gets them over HTTP."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tokenizers import Tokenizer

from omega_server import tracing
from omega_server.app import Gate
from omega_server.completion import Completion
from omega_server.engine.pixels import SharedPrompt
from omega_server.engine.request import Sampling, Token
from omega_server.keys import Keyring
from omega_server.metrics import Metrics

MODEL = Path(__file__).parents[3] / "demo" / "model"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Collector:
    """What has arrived.

    Attributes:
        spans: by name.
        service: that sent them.
        open: cleared, it does not answer.
    """

    spans: dict[str, Span] = field(default_factory=dict)
    service: str = ""
    open: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """On loopback, named by the environment."""
    found = Collector()
    found.open.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.open.wait(20)
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                found.service = values(group.resource)["service.name"]
                for scope in group.scope_spans:
                    found.spans |= {span.name: span for span in scope.spans}
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{web.server_port}")
        yield found
        found.open.set()
        web.shutdown()
        thread.join()


def values(holder: Any) -> dict[str, Any]:
    """Attributes of a span or resource."""

    def plain(value: AnyValue) -> Any:
        kind = value.WhichOneof("value")
        return (
            [plain(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, str(kind))
        )

    return {item.key: plain(item.value) for item in holder.attributes}


class Engine:
    """Gives two tokens and an end, after some time in a queue."""

    async def generate(self, prompt: SharedPrompt, sampling: Sampling) -> AsyncGenerator[Token, None]:
        """The tokens."""
        yield Token(5, queued_seconds=0.001, cached_tokens=2)
        await asyncio.sleep(0.01)
        yield Token(6)
        yield Token(7, "length")


async def answer(scope: Any, _receive: Any, send: Any) -> None:
    """An application that answers with what an engine says."""
    now = time.monotonic()
    tracing.past("media.fetch", now - 0.5, now - 0.25, {"http.response.body.size": 3})
    with tracing.span("prompt"):
        await asyncio.sleep(0)
    tracing.note({"gen_ai.request.model": "demo", "gen_ai.request.seed": None})
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    samplings = [Sampling(max_tokens=3)]
    request = Completion(Engine(), tokenizer, Metrics(lambda: ()), prompt=SharedPrompt((1, 2, 3)), samplings=samplings)
    async for _ in request.deltas():
        pass
    scope["route"] = SimpleNamespace(path="/v1/{name}")
    await send({"type": "http.response.start", "status": scope["status"], "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def ask(made: tracing.Tracing | None, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    """Send a request through the gate."""
    serving = SimpleNamespace(
        keys=Keyring(None, None),
        metrics=Metrics(lambda: ()),
        answering=nullcontext,
        max_body=1,
        state="ready",
        tracing=made,
    )
    scope = {"type": "http", "method": "POST", "path": "/v1/x", "headers": list(headers), "status": status}

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(_message: Any) -> None:
        """Nobody listens."""

    await Gate(answer, serving)(scope, receive, send)  # type: ignore[arg-type]


async def test_a_request(collector: Collector) -> None:
    """Its span goes on with the client's trace, tells model, tokens and end, and has a child for each thing waited for."""
    made = tracing.begin()
    assert made is not None
    await ask(made, (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode()), (b"x-request-id", b"mine"))
    await asyncio.to_thread(made.close)
    assert collector.service == "omega-server"
    spans = collector.spans
    assert spans.keys() == {"POST /v1/{name}", "media.fetch", "prompt", "queue", "generate"}
    server = spans["POST /v1/{name}"]
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, PARENT)
    assert server.kind == Span.SPAN_KIND_SERVER
    assert values(server) == {
        "http.request.method": "POST",
        "url.path": "/v1/x",
        "omega.request_id": "mine",
        "http.response.status_code": 200,
        "gen_ai.request.model": "demo",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.response.finish_reasons": ["length"],
    }
    children = [spans[name] for name in ("media.fetch", "prompt", "queue", "generate")]
    assert {(child.trace_id, child.parent_span_id) for child in children} == {(server.trace_id, server.span_id)}
    fetch = spans["media.fetch"]
    assert fetch.end_time_unix_nano - fetch.start_time_unix_nano == pytest.approx(0.25e9, rel=1e-3)
    queue, generate = spans["queue"], spans["generate"]
    assert queue.end_time_unix_nano == pytest.approx(generate.start_time_unix_nano, abs=1e6)
    assert generate.end_time_unix_nano <= server.end_time_unix_nano + 1e6


async def test_a_failure(collector: Collector) -> None:
    """A status of the server's own fault marks the span; without a client's trace it has one of its own."""
    made = tracing.begin()
    assert made is not None
    await ask(made, status=503)
    await asyncio.to_thread(made.close)
    server = collector.spans["POST /v1/{name}"]
    assert (server.status.code, values(server)["error.type"]) == (Status.STATUS_CODE_ERROR, "503")
    assert not server.parent_span_id


async def test_a_collector_that_hangs(collector: Collector) -> None:
    """Costs no request anything: many end while it still has the first batch."""
    collector.open.clear()
    made = tracing.begin()
    assert made is not None
    for _ in range(200):
        await ask(made)
    assert not collector.spans
    collector.open.set()
    await asyncio.to_thread(made.close)
    assert collector.spans


async def test_without_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no traces, and what would write them does nothing."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert tracing.begin() is None
    await ask(None)


def test_nothing_is_imported_without_a_collector() -> None:
    """The server's own process has neither OpenTelemetry's SDK nor its exporter."""
    code = (
        "import json, sys, omega_server.process, omega_server.tracing as t; t.begin()\n"
        "print(json.dumps([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))]))"
    )
    path = ":".join(entry for entry in sys.path if entry)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONPATH": path})
    assert json.loads(done.stdout) == []
