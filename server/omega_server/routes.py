"""The paths of the API. Each endpoint is a few lines: what it does is done in `chat` and `serving`."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import asdict
from functools import cache
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import Receive, Scope, Send

from omega_server import __version__, chat, playground
from omega_server.incoming import parsed
from omega_server.media.kept import kept
from omega_server.serving import Serving
from omega_server.wire import openapi, responses, sse
from omega_server.wire.errors import NOT_FOUND, UNSUPPORTED_MEDIA_TYPE, ApiError, Problem, bad_request
from omega_server.wire.large_strings import Splitter
from omega_server.wire.requests import ChatRequest, parse_chat, parse_tokenize

router = APIRouter(redirect_slashes=False)
T = TypeVar("T")

SILENCE = 15.0
"""Seconds without an event after which a stream says that it is still there."""


class ClientGone(Exception):  # noqa: N818 - what happened, not a fault
    """The client hung up before its answer was complete."""


class Json(Response):
    """A JSON body."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes."""
        return orjson.dumps(content)


class EventStream(Response):
    """Server-sent events, for as long as the client listens."""

    def __init__(self, events: AsyncGenerator[bytes, None], silence: float = SILENCE) -> None:
        """Takes over `events`, and closes it. After each `silence` seconds without any, a comment goes out."""
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._events = events
        self._silence = silence
        self._last = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send the events."""
        await unless_gone(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        async with aclosing(self._events):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            beat = asyncio.ensure_future(self._beat(send))
            try:
                async for event in self._events:
                    await self._event(send, event)
            finally:
                beat.cancel()
                await asyncio.gather(beat, return_exceptions=True)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _event(self, send: Send, event: bytes) -> None:
        self._last = time.monotonic()
        await send({"type": "http.response.body", "body": event, "more_body": True})

    async def _beat(self, send: Send) -> None:
        self._last = time.monotonic()
        while True:
            quiet = time.monotonic() - self._last
            if quiet >= self._silence:
                await self._event(send, sse.KEEP_ALIVE)
            else:
                await asyncio.sleep(self._silence - quiet)


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do some work, but give it up when the client hangs up.

    Raises:
        ClientGone: it did.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


async def _body(request: Request, parse: Callable[[Any], T]) -> T:
    """The request that a body stands for."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(UNSUPPORTED_MEDIA_TYPE)
    _serving(request).let_in(request.scope)
    splitter = Splitter()
    async for chunk in request.stream():
        splitter.feed(chunk)
    value = await parsed(splitter)
    kept.set(splitter.kept)
    return parse(value)


def _no_stream(wanted: ChatRequest) -> None:
    if wanted.stream:
        raise bad_request("invalid_value", "Only chat completions can be streamed.", "stream")


@router.post("/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Answer a conversation, whole or as a stream."""
    wanted, serving = await _body(request, parse_chat), _serving(request)
    job = await unless_gone(request.receive, chat.prepare(serving, wanted))
    if wanted.stream:
        return EventStream(sse.events(await unless_gone(request.receive, chat.open_stream(serving, job))))
    return Json(await unless_gone(request.receive, chat.answer(serving, job)))


@router.post("/v1/apply_template")
async def apply_template(request: Request) -> Response:
    """What a chat request's prompt would be; it takes the same body, and touches no engine."""
    wanted, serving = await _body(request, parse_chat), _serving(request)
    _no_stream(wanted)
    job = await unless_gone(request.receive, chat.prepare(serving, wanted))
    return Json(chat.describe(job, await serving.prompts.render(job.turns, job.tools)))


@router.post("/v1/tokenize")
async def tokenize(request: Request) -> Response:
    """The token ids of a text or of a conversation; it touches no engine."""
    wanted, serving = await _body(request, parse_tokenize), _serving(request)
    if isinstance(wanted, ChatRequest):
        _no_stream(wanted)
    return Json(await unless_gone(request.receive, chat.tokenize(serving, wanted)))


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """The one model."""
    return Json(responses.models([_model(_serving(request))]))


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> Response:
    """The model, if that is its name."""
    serving = _serving(request)
    if name != serving.settings.boot.model_name:
        known = serving.settings.boot.model_name
        raise ApiError(Problem(404, "model_not_found", f"This server has one model, {known}.", "model"))
    return Json(_model(serving))


@router.get("/live")
async def live(request: Request) -> Response:
    """200 as long as this process answers."""
    return Json(_serving(request).readiness())


@router.get("/ready")
async def ready(request: Request) -> Response:
    """200 while requests are taken, else 503."""
    serving = _serving(request)
    return Json(serving.readiness(), status_code=200 if serving.state == "ready" else 503)


@router.get("/health")
async def health(request: Request) -> Response:
    """Everything about this server, for people."""
    serving = _serving(request)
    boot = asdict(serving.settings.boot)
    body = serving.readiness() | {
        "model": {"name": boot["model_name"], "dtype": boot["dtype"], "device": boot["device"]},
        "engines": [asdict(engine) for engine in serving.engines()],  # type: ignore[call-overload]
        "vlm_config": _vlm_config(serving),
    }
    return Json(body, status_code=200 if serving.state == "ready" else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus metrics."""
    return Response(_serving(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json")
async def document() -> Response:
    """What this server can be asked, for programs."""
    return Json(_document())


@router.get("/")
async def page(request: Request) -> Response:
    """The playground, for people with a browser."""
    return _file(request, playground.PAGE)


@router.get("/playground/{name}")
async def page_file(request: Request, name: str) -> Response:
    """What the playground's page consists of."""
    if f"/playground/{name}" not in playground.PATHS:
        raise ApiError(NOT_FOUND)
    return _file(request, name)


@cache
def _document() -> dict[str, Any]:
    return openapi.document(__version__)


def _file(request: Request, name: str) -> Response:
    file = playground.FILES[name]
    if request.headers.get("if-none-match") == file.headers["ETag"]:
        return Response(status_code=304, headers=file.headers)
    return Response(file.body, headers=file.headers)


def _model(serving: Serving) -> dict[str, Any]:
    return responses.model(serving.settings.boot.model_name, serving.started, serving.max_length)


def _vlm_config(serving: Serving) -> dict[str, Any]:
    """The original system's settings, by the names of their variables, with the values that count now."""
    boot, config = serving.settings.boot, serving.live.current
    defaults = config.generation.defaults
    return {
        "gpu_count": boot.gpu_count,
        "max_model_length": serving.max_length,
        "max_batch_size": config.batching.max_batch_size,
        "batch_timeout_ms": config.batching.batch_timeout_ms,
        "max_image_size": config.images.max_size,
        "max_images_per_request": config.images.max_per_request,
        "allow_remote_images": config.images.allow_remote,
        "max_new_tokens_default": defaults.max_new_tokens,
        "top_k_default": defaults.top_k,
        "repetition_penalty_default": defaults.repetition_penalty,
    }
