"""Traces for an OpenTelemetry collector, where OTEL_EXPORTER_OTLP_ENDPOINT names one. Otherwise neither SDK nor exporter
is imported.

A request has a span of its own, which goes on with the client's trace, and one for each thing that it waits for. They
are sent by a thread, in batches, from a queue of bounded length: a collector that is slow or gone costs spans, never a request.
What people ask and what the model answers is in none of them.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING

from omega_server import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

Value = str | bool | int | float | Sequence[str]

_request: ContextVar["tuple[Tracer, Span] | None"] = ContextVar("request_span", default=None)


class Tracing:
    """What makes the spans of requests, and sends them."""

    def __init__(self) -> None:
        """As the environment's OTEL_ variables say, which are those of every OpenTelemetry SDK."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see above
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        service = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "omega-server"}
        self._provider = TracerProvider(resource=Resource.create(service), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("omega_server", __version__)

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str], attributes: Mapping[str, Value]) -> Iterator[None]:
        """The span of a request; what is noted and spanned inside belongs to it."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        carrier = {field: headers[field] for field in ("traceparent", "tracestate") if field in headers}
        context = TraceContextTextMapPropagator().extract(carrier)
        span = self._tracer.start_span(name, context, kind=SpanKind.SERVER, attributes=attributes)
        token = _request.set((self._tracer, span))
        try:
            yield
        finally:
            _request.reset(token)
            span.end()

    def close(self) -> None:
        """Send what is left, and end. Takes up to some seconds; call it in a thread."""
        self._provider.shutdown()


def begin() -> Tracing | None:
    """Tracing, if the environment names a collector."""
    named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    wanted = any(os.environ.get(name) for name in named) and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"
    return Tracing() if wanted else None


def traced(
    tracing: Tracing | None, name: str, headers: Mapping[str, str], attributes: Mapping[str, Value]
) -> AbstractContextManager[None]:
    """The span of a request, if there are traces."""
    return nullcontext() if tracing is None else tracing.request(name, headers, attributes)


def note(attributes: Mapping[str, Value | None]) -> None:
    """Add to the request's span; None says nothing."""
    if (found := _request.get()) is not None:
        found[1].set_attributes({name: value for name, value in attributes.items() if value is not None})


def answered(name: str, status: int) -> None:
    """The request has this status; `name` is the method and the route."""
    if (found := _request.get()) is None:
        return
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    found[1].update_name(name)
    found[1].set_attribute("http.response.status_code", status)
    if status >= 500:
        found[1].set_attribute("error.type", str(status))
        found[1].set_status(StatusCode.ERROR)


def past(name: str, began: float, ended: float, attributes: Mapping[str, Value] | None = None) -> None:
    """Something that the request waited for, in seconds of the monotonic clock."""
    if (found := _request.get()) is None:
        return
    from opentelemetry.trace import set_span_in_context  # noqa: PLC0415

    tracer, parent = found
    offset = time.time_ns() - time.monotonic_ns()
    child = tracer.start_span(
        name, set_span_in_context(parent), start_time=int(began * 1e9) + offset, attributes=attributes
    )
    child.end(int(ended * 1e9) + offset)


@contextmanager
def span(name: str) -> Iterator[None]:
    """Something that the request waits for, however it ends."""
    began = time.monotonic()
    try:
        yield
    finally:
        past(name, began, time.monotonic())
