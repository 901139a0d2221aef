"""Clients that begin a request and let us wait for the rest."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from demo_server import Configured
from starlette.types import Receive, Scope, Send
from wire import AUTHORIZATION, closed, connect, exchange, head, receive

from omega_server import incoming
from omega_server.http_protocol import BoundedHttp
from omega_server.incoming import Incoming
from omega_server.wire.errors import ApiError

pytestmark = pytest.mark.timeout(1200)  # the first test waits for the server

CHUNKED: Scope = {"type": "http", "headers": [(b"transfer-encoding", b"chunked")]}


class Impatient(BoundedHttp):
    """Waits a moment for a header."""

    head_seconds = 0.2


async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers anything with nothing."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


@contextmanager
def impatient() -> Iterator[socket.socket]:
    """A connection to such a server."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=Impatient, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with socket.create_connection(listener.getsockname(), timeout=60) as connection:
            yield connection
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("begun", [b"GET /live HTTP/1.1\r\n", b"G", b"GET / HTTP/1.1\r\nX: y"])
def test_header_that_does_not_end(begun: bytes) -> None:
    """A header that was begun and does not end is told so, and the connection ends."""
    with impatient() as connection:
        connection.sendall(begun)
        answer = receive(connection)
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert closed(connection)


def test_silence() -> None:
    """Whoever connects and says nothing is let go."""
    with impatient() as connection:
        assert closed(connection)


def test_later_header() -> None:
    """The header of a later request on a connection has as long as the first."""
    with impatient() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert receive(connection).status == 200
        connection.sendall(b"GET /")
        assert receive(connection).code == "request_timeout"


def parts(*messages: dict[str, Any]) -> Receive:
    """ASGI's receive for these messages, and then silence."""
    waiting = list(messages)

    async def receive_one() -> dict[str, Any]:
        if not waiting:
            await asyncio.sleep(3600)
        return waiting.pop(0)

    return receive_one


def part(size: int, *, more: bool = True) -> dict[str, Any]:
    """A part of a body."""
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


async def refusal(body: Incoming) -> str:
    """The code of what ends a body."""
    try:
        while body.pending:
            await body.receive()
    except ApiError as error:
        return error.problem.code
    return "nothing"


def test_body_that_does_not_end() -> None:
    """A body that stops coming is given up; what came so far only put that off."""
    for sent in ((), (part(1),), (part(100_000), part(100_000))):
        assert asyncio.run(refusal(Incoming(CHUNKED, parts(*sent), 1 << 20, 0.05))) == "request_timeout"


def test_body_that_ends() -> None:
    """A body within its bounds is not touched, and after its end the silence may last."""

    async def all_of_it() -> bool:
        body = Incoming(CHUNKED, parts(part(10), part(0, more=False)), 10, 0.05)
        assert await refusal(body) == "nothing"
        waiting = asyncio.ensure_future(body.receive())
        await asyncio.sleep(0.1)
        return waiting.cancel()

    assert asyncio.run(all_of_it())


def test_body_over_the_cap() -> None:
    """The byte over the cap is the last that is taken."""
    assert asyncio.run(refusal(Incoming(CHUNKED, parts(part(10), part(1)), 10))) == "request_too_large"


def test_rest_of_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a refused body is dropped to its end, or for a moment."""
    monkeypatch.setattr(incoming, "LINGER", 0.05)

    async def dropped(*sent: dict[str, Any]) -> bool:
        body = Incoming(CHUNKED, parts(*sent), 1 << 20)
        await body.drop()
        return not body.pending

    assert asyncio.run(dropped(part(9), part(9), part(0, more=False)))
    assert not asyncio.run(dropped(part(9)))


def test_no_body() -> None:
    """A request that announces no body has none to wait for."""
    for headers in ([], [(b"content-length", b"0")]):
        assert not Incoming({"type": "http", "headers": headers}, parts(), 9).pending


def test_refused_before_the_body(server: Configured) -> None:
    """A refusal arrives while the body is still on its way, and then the connection ends."""
    with connect(server) as connection:
        connection.sendall(head("POST /v1/chat/completions", "Host: x", "Content-Length: 3000000"))
        answer = receive(connection)
        assert (answer.code, answer.fields["connection"]) == ("invalid_api_key", "close")
        connection.sendall(b"x" * 3_000_000)
        assert closed(connection)


def test_refused_without_sending(server: Configured) -> None:
    """A client that asks first whether it may send hears the refusal instead."""
    fields = ("Host: x", "Content-Length: 3000000", "Expect: 100-continue")
    assert exchange(server, head("POST /v1/chat/completions", *fields)).status == 401


def test_unread_body(server: Configured) -> None:
    """A body that a route has no use for is no next request."""
    inner = head("DELETE /v1/models", "Host: x")
    with connect(server) as connection:
        fields = ("Host: x", AUTHORIZATION, f"Content-Length: {len(inner)}")
        connection.sendall(head("GET /v1/models", *fields) + inner)
        assert receive(connection).status == 200
        assert closed(connection)


def test_client_that_leaves(server: Configured) -> None:
    """A client that hangs up in the middle of its body leaves no traceback behind."""
    with connect(server) as connection:
        fields = ("Host: x", AUTHORIZATION, "Content-Type: application/json", "Content-Length: 1000")
        connection.sendall(head("POST /v1/chat/completions", *fields) + b'{"mess')
    assert server.client.get("/live").status_code == 200
    assert "Traceback" not in server.log.read_text()
