"""A proxy before the API server: it takes down every call, and does the harm that `Faults` says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from yarl import URL

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
PASSED = ("Accept", "Content-Type", "User-Agent")
LARGEST_EVENT = 2**21
"""Longest line of a watch, in bytes."""


@dataclass(eq=False)
class Call:
    """One request; times are monotonic seconds."""

    method: str
    path: str
    query: str
    accept: str
    began: float
    ended: float | None = None
    status: int | None = None
    """None: no answer was given."""
    retry_after: float = 0.0
    made: str = ""
    """Name of the object that is to be made: the path does not have it."""

    @property
    def is_watch(self) -> bool:
        """Whether events are asked for."""
        return "watch=true" in self.query

    @property
    def is_lease(self) -> bool:
        """Whether it belongs to the election."""
        return "/leases" in self.path

    @property
    def is_write(self) -> bool:
        """Whether it is meant to change something, the Lease apart."""
        return self.method in WRITES and not self.is_lease

    @property
    def address(self) -> tuple[str, ...]:
        """What makes two calls the same."""
        return self.method, self.path, self.made, self.accept, str(self.is_watch)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Cut(Exception):  # noqa: N818 - not an error: what the proxy was told to do
    """End the connection without an answer."""


def nothing(call: Call) -> None:
    """No harm."""


@dataclass
class Faults:
    """What is done to calls. Rates are shares from 0 to 1, of writes without those of the Lease unless they say otherwise."""

    dice: random.Random = field(default_factory=lambda: random.Random(0))
    conflicts: float = 0.0
    throttled: float = 0.0
    errors: float = 0.0
    throttled_reads: float = 0.0
    """Of everything else: lists, watches, the Lease."""

    silent: bool = False
    """Watches, those that are open and those to come, bring nothing more."""

    gone: bool = False
    """A watch is told at once that its version is too old."""

    doubled: float = 0.0
    """Of the events of watches."""

    swapped: float = 0.0
    """Of the events of watches: an event comes after the one that follows it."""

    before: Callable[[Call], None] = nothing
    """Called before a call is passed on; may raise Cut."""

    after: Callable[[Call], None] = nothing
    """Called when the API server has answered, before the answer is passed on; may raise Cut."""

    def refusal(self, call: Call) -> tuple[int, str, int] | None:
        """Status, reason and Retry-After in seconds, or None."""
        throttled = self.throttled if call.is_write else self.throttled_reads
        rolled = self.dice.random()
        if rolled < throttled:
            return 429, "TooManyRequests", self.dice.choice((1, 1, 2, 3))
        if not call.is_write:
            return None
        if rolled < throttled + self.conflicts:
            return 409, "Conflict", 0
        if rolled < throttled + self.conflicts + self.errors:
            return 500, "InternalError", 0
        return None

    def events(self, line: bytes, held: list[bytes]) -> Iterable[bytes]:
        """What is passed on when an event comes; `held` keeps what comes later."""
        if self.silent:
            return
        if self.dice.random() < self.swapped and not held:
            held.append(line)
            return
        yield line
        if self.dice.random() < self.doubled:
            yield line
        while held:
            yield held.pop()


class Proxy:
    """Listens on a port of this machine, in plain HTTP; speaks to the API server as the administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        """Args: of the administrator."""
        self._kubeconfig = kubeconfig
        self.faults = Faults()
        self.calls: list[Call] = []
        self.port = 0
        self._server = ""
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._silenced: set[Call] = set()

    async def __aenter__(self) -> Proxy:
        """Listen."""
        settings = Configuration()
        await config.load_kube_config(config_file=str(self._kubeconfig), client_configuration=settings)
        context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        token = await settings.get_api_key_with_prefix("BearerToken")
        self._server = settings.host
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            headers={"Authorization": token} if token else {},
            read_bufsize=LARGEST_EVENT,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        assert self._runner is not None
        assert self._session is not None
        await self.down()
        await self._runner.cleanup()
        await self._session.close()

    async def up(self) -> None:
        """Take connections."""
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        sockets = self._site._server.sockets  # type: ignore[union-attr]
        self.port = sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse connections, and cut those that there are, as an API server does that ends."""
        assert self._runner is not None
        if self._site is not None:
            await self._site.stop()
            self._site = None
        for connection in self._runner.server.connections if self._runner.server else ():
            if connection.transport is not None:
                connection.transport.abort()

    def write_kubeconfig(self, path: Path) -> Path:
        """A kubeconfig that leads here."""
        cluster = {"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
        context = {"name": "proxy", "context": {"cluster": "proxy", "user": "anyone"}}
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [{"name": "anyone", "user": {}}],
            "contexts": [context],
            "current-context": "proxy",
        }
        path.write_text(yaml.safe_dump(body))
        return path

    def writes(self, since: float = 0.0) -> list[Call]:
        """Calls that are meant to change something, that began after a moment."""
        return [call for call in self.calls if call.is_write and call.began >= since]

    def silence(self) -> None:
        """Watches that are open now bring nothing more; new ones do."""
        self._silenced = {call for call in self.calls if call.is_watch and call.ended is None}

    def too_early(self) -> list[str]:
        """Calls that came before the time that Retry-After had said for the same call."""
        until: dict[tuple[str, ...], list[Call]] = {}
        found = []
        for call in sorted(self.calls, key=lambda one: one.began):
            for refused in until.get(call.address, ()):
                if refused.ended is not None and refused.ended <= call.began < refused.ended + refused.retry_after:
                    left = refused.ended + refused.retry_after - call.began
                    found.append(f"{call} came {left:.3f} s before the {refused.retry_after:.0f} s were over")
            if call.retry_after:
                until.setdefault(call.address, []).append(call)
        return found

    # details

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = Call(
            request.method, request.path, request.query_string, request.headers.get("Accept", ""), time.monotonic()
        )
        self.calls.append(call)
        if call.method == "POST":
            call.made = json.loads(await request.read())["metadata"]["name"]
        try:
            if refusal := self.faults.refusal(call):
                return self._refuse(call, *refusal)
            self.faults.before(call)
            return await self._forward(call, request)
        except (Cut, aiohttp.ClientError):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        finally:
            call.ended = time.monotonic()

    def _refuse(self, call: Call, status: int, reason: str, retry_after: int) -> web.Response:
        call.status, call.retry_after = status, float(retry_after)
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status}
        headers = {"Retry-After": str(retry_after)} if retry_after else {}
        return web.json_response(body | {"message": f"the proxy says {reason}"}, status=status, headers=headers)

    async def _forward(self, call: Call, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        url = URL(self._server + request.raw_path, encoded=True)
        headers = {name: request.headers[name] for name in PASSED if name in request.headers}
        body = await request.read()
        if call.is_watch and self.faults.gone:
            return self._gone(call)
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            if call.is_watch and answer.status == 200:
                return await self._stream(call, request, answer)
            text = await answer.read()
            self.faults.after(call)
            call.status = answer.status
            kept = {name: answer.headers[name] for name in ("Content-Type", "Retry-After") if name in answer.headers}
            return web.Response(status=answer.status, body=text, headers=kept)

    async def _stream(self, call: Call, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        call.status = 200
        held: list[bytes] = []
        async for line in answer.content:
            if call in self._silenced:
                continue
            for event in self.faults.events(line, held):
                await response.write(event)
        if self.faults.silent or call in self._silenced:
            await asyncio.Event().wait()  # the end, too, is kept from whom it concerns
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response

    def _gone(self, call: Call) -> web.Response:
        call.status = 200
        status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired"}
        event = {"type": "ERROR", "object": status | {"code": 410, "message": "too old resource version: 1 (2)"}}
        return web.Response(body=json.dumps(event).encode() + b"\n", content_type="application/json")
