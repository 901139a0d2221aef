"""The HTTP application: routes, and one gate in front of them all.

The gate gives each request an id, bounds its header and body, asks for the key, turns every exception into the error
body of the API, counts the request and writes one log line about it.
"""

import asyncio
import logging
import time
import uuid
from contextlib import AbstractContextManager

from fastapi import FastAPI, Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from omega_server import logs, playground, tracing, websocket
from omega_server.incoming import Incoming
from omega_server.metrics import CLIENT_GONE
from omega_server.routes import ClientGone, Json, router
from omega_server.serving import Serving
from omega_server.wire.errors import (
    HEADERS_TOO_LARGE,
    INTERNAL,
    INVALID_API_KEY,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    ApiError,
    Problem,
    forget,
    problem_of,
    request_too_large,
    unsupported_path,
)
from omega_server.wire.unsupported import UNSUPPORTED_PATHS

logger = logging.getLogger(__name__)

OPEN = frozenset({"/live", "/ready"}) | playground.PATHS
"""Paths that need no key: the kubelet and the operator have none, and the playground's page asks for it."""
MAX_HEADERS = 64 * 1024
"""Bytes of all header names and values together."""


def create_app(serving: Serving) -> FastAPI:
    """The application over a server's parts."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.serving = serving
    app.include_router(router)
    app.add_middleware(Gate, serving=serving)
    app.add_exception_handler(HTTPException, _routing_failure)
    return app


async def _routing_failure(request: Request, error: Exception) -> Response:
    """What the router itself refuses: unknown paths and methods."""
    wrong_method = isinstance(error, HTTPException) and error.status_code == METHOD_NOT_ALLOWED.status
    headers = error.headers if isinstance(error, HTTPException) else None
    problem = METHOD_NOT_ALLOWED if wrong_method else NOT_FOUND
    path: str = request.scope["path"]
    if path in UNSUPPORTED_PATHS:
        problem = unsupported_path(path)
    return Json(problem.body(), status_code=problem.status, headers=dict(headers or {}))


class Gate:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self._app = app
        self._serving = serving
        self._turns = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "websocket":
            await websocket.Connection(self._serving, scope, receive, send).serve()
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = Incoming(scope, receive, self._serving.max_body, turns=self._turns)
        request = _Passage(self._serving, scope, body, send)
        if scope["path"] in OPEN:
            await request.pass_to(self._app)
            return
        with self._serving.answering(), request.traced():
            began = time.monotonic()
            await request.pass_to(self._app)
            request.log(time.monotonic() - began)


class _Passage:
    """One request on its way through the gate."""

    def __init__(self, serving: Serving, scope: Scope, body: Incoming, send: Send) -> None:
        self._serving = serving
        self._scope = scope
        self._body = body
        self._send = send
        self._headers = Headers(scope=scope)
        self._id = _request_id(self._headers.get("x-request-id"))
        self._status: int | None = None
        logs.request_id.set(self._id)

    async def pass_to(self, app: ASGIApp) -> None:
        try:
            self._check()
            await app(self._scope, self._body.receive, self._write)
        except (ClientGone, ClientDisconnect) as error:
            self._status = CLIENT_GONE
            forget(error)
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                logger.exception("a request failed")
            if self._status is None:
                await self._answer(problem or INTERNAL)
            forget(error)

    def traced(self) -> AbstractContextManager[None]:
        """The request's span, if there are traces."""
        method, path = self._scope["method"], self._scope["path"]
        attributes = {"http.request.method": method, "url.path": path, "omega.request_id": self._id}
        return tracing.traced(self._serving.tracing, method, self._headers, attributes)

    def log(self, seconds: float) -> None:
        route = self._scope.get("route")
        path = getattr(route, "path", "unknown")
        self._serving.metrics.responses.labels(path, str(self._status)).inc()
        tracing.answered(f"{self._scope['method']} {path}", self._status or INTERNAL.status)
        fields = {"method": self._scope["method"], "path": self._scope["path"], "status": self._status}
        logger.info("request", extra={"fields": fields | {"seconds": round(seconds, 4)}})

    def _check(self) -> None:
        if sum(len(name) + len(value) for name, value in self._scope["headers"]) > MAX_HEADERS:
            raise ApiError(HEADERS_TOO_LARGE)
        offered = [value for name, value in self._scope["headers"] if name == b"authorization"]
        if self._scope["path"] not in OPEN and not self._serving.keys.allows(offered):
            raise ApiError(INVALID_API_KEY)
        length = self._headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._serving.max_body:
            raise ApiError(request_too_large(self._serving.max_body))

    async def _write(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._id
            # While we drain, the next request of this client is for another server. The rest of a body that nobody
            # wanted is no request.
            if self._serving.state == "draining" or self._body.pending:
                headers["Connection"] = "close"
        elif self._body.pending and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._body.drop()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _answer(self, problem: Problem) -> None:
        answer = Json(problem.body(), status_code=problem.status, headers=problem.headers())
        await answer(self._scope, self._body.receive, self._write)


def _request_id(offered: str | None) -> str:
    """The client's own id, if it is a plain short word."""
    if (
        offered
        and len(offered) <= 128
        and all(char.isalnum() or char in "-_.:" for char in offered)
        and offered.isascii()
    ):
        return offered
    return uuid.uuid4().hex
