"""What is wrong around a request: its header, path, method and size. Sent as bytes, because clients refuse to."""

import json
from typing import Any

import pytest
from bad_inputs import chat, part, uri
from demo_server import KEY, Configured
from odd_files import photograph
from wire import AUTHORIZATION, closed, connect, exchange, head, post, receive

pytestmark = pytest.mark.timeout(1200)  # the first test waits for the server

CHAT = "POST /v1/chat/completions"
JSON = "Content-Type: application/json"
BODY = json.dumps(chat()).encode()
LENGTH = f"Content-Length: {len(BODY)}"
Row = tuple[int, bytes, int, str]


def asked(line: str, *fields: str) -> bytes:
    """A request without a body, with a key."""
    return head(line, "Host: x", AUTHORIZATION, *fields)


def typed(*fields: str) -> bytes:
    """A chat request with another kind of body."""
    return head(CHAT, "Host: x", AUTHORIZATION, LENGTH, *fields) + BODY


ROWS: list[Row] = [
    *[
        (3, typed(*fields), 415, "unsupported_media_type")
        for fields in (
            ["Content-Type: text/plain"], ["Content-Type: text/json"], ["Content-Type: application/jsonp"],
            ["Content-Type: application/x-www-form-urlencoded"], ["Content-Type: multipart/form-data; boundary=x"],
            ["Content-Type: "], [], [JSON, "Content-Encoding: gzip"], [JSON, "Content-Encoding: br"],
            [JSON, "Content-Encoding: identity, gzip"], [JSON, "Content-Encoding: zstd"],
        )
    ],
    (4, head(CHAT, "Host: x", AUTHORIZATION, JSON, "Content-Length: 9999999999") + b"{", 413, "request_too_large"),
    (4, head(CHAT, "Host: x", AUTHORIZATION, JSON, f"Content-Length: {'9' * 18}") + b"{", 413, "request_too_large"),
    *[
        (5, asked(f"{method} {path}"), 405, "method_not_allowed")
        for method, path in (
            ("GET", "/v1/chat/completions"), ("PUT", "/v1/chat/completions"), ("DELETE", "/v1/chat/completions"),
            ("OPTIONS", "/v1/chat/completions"), ("PATCH", "/v1/tokenize"), ("GET", "/v1/apply_template"),
            ("POST", "/v1/models"), ("DELETE", "/v1/models/demo"), ("POST", "/health"), ("POST", "/live"),
            ("DELETE", "/ready"), ("TRACE", "/v1/models"),
        )
    ],
    *[
        (6, asked(f"GET {path}"), 404, "not_found")
        for path in (
            "/v1", "/v1/", "//v1/models", "/v1//models", "/V1/models", "/v1/chat", "/v1/chat/completions/", "/v2/models",
            "/docs", "/redoc", "/v1/completions", "/v1/embeddings", "/terminate", "/shutdown", "/.git/config", "/../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd", "/live/", "/metrics/", "/health/../v1/models", "/playground/../__init__.py",
        )
    ],
    (9, asked("GET /v1/models", f"X-Large: {'x' * 131_072}"), 431, "headers_too_large"),
    (9, asked("GET /live", f"X-Large: {'x' * 66_000}"), 431, "headers_too_large"),
    (9, asked("GET /v1/models", *(f"X-{n}: {'y' * 100}" for n in range(700))), 431, "headers_too_large"),
    (9, asked(f"GET /{'x' * 70_000}"), 431, "headers_too_large"),
    (9, asked(f"GET /live?{'x' * 70_000}"), 431, "headers_too_large"),
    (9, b"GET /live HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(300)), 431, "headers_too_large"),
    *[
        (0, sent, 400, "invalid_http")
        for sent in (
            b"\x16\x03\x01 hello\r\n\r\n", b"hello\r\n\r\n", b"GET\r\n\r\n", b"GET /live HTTP/9.9\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /live HTTP/1.1\r\nHost x\r\n\r\n", b"GET /live HTTP/1.1\r\nA: b\x00\r\n\r\n",
            asked(CHAT, JSON, "Content-Length: -1"), asked(CHAT, JSON, "Content-Length: 1x"),
            asked(CHAT, JSON, "Content-Length: 5", "Content-Length: 6"),
            asked(CHAT, JSON, "Content-Length: 5", "Transfer-Encoding: chunked"),
            asked(CHAT, JSON, "Transfer-Encoding: gzip, identity"), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        )
    ],
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]}-{index}-{row[3]}" for index, row in enumerate(ROWS)])
def test_around(server: Configured, row: Row) -> None:
    """What is wrong around a body has its exact answer."""
    _, sent, status, code = row
    answer = exchange(server, sent)
    assert (answer.status, answer.code) == (status, code)
    assert ("allow" in answer.fields) == (status == 405)
    assert KEY not in str(answer.body)


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_by_its_names(server: Configured, kind: str) -> None:
    """Row 3: JSON is JSON, however its name is written."""
    assert exchange(server, typed(f"Content-Type: {kind}", "Content-Encoding: identity")).status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/completions", "/v1/messages", "/v1/embeddings"])
def test_other_ways_to_ask(server: Configured, method: str, path: str) -> None:
    """Row 6: what other servers have and this one has not is refused by its name, with the way to ask."""
    answer = exchange(server, asked(f"{method} {path}"))
    assert (answer.status, answer.code) == (404, "not_found")
    assert path in answer.body["error"]["message"]
    assert "/v1/chat/completions" in answer.body["error"]["message"]


def test_broken_chunks(server: Configured) -> None:
    """A body whose chunks are no chunks ends the connection."""
    with connect(server) as connection:
        connection.sendall(head(CHAT, "Host: x", AUTHORIZATION, JSON, "Transfer-Encoding: chunked") + b"zz\r\n{}\r\n")
        assert receive(connection).code == "invalid_http"
        assert closed(connection)


def test_chunks_over_the_cap(server: Configured) -> None:
    """Row 4: a body that never said how long it is, is refused at the cap."""

    def endless() -> Any:
        while True:
            yield b" " * 1_000_000

    headers = {"Content-Type": "application/json"}
    response = server.client.post("/v1/chat/completions", content=endless(), headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


def test_cap(server: Configured) -> None:
    """Row 4: the cap is that of docs/errors.md for the default limits, to the byte."""
    cap = (16 << 20) + (100 << 20) * 4 // 3  # the text, and the largest video in base64
    over = exchange(server, head(CHAT, "Host: x", AUTHORIZATION, JSON, f"Content-Length: {cap + 1}") + b"{")
    assert (over.status, over.code) == (413, "request_too_large")
    with connect(server) as connection:
        connection.sendall(head(CHAT, "Host: x", AUTHORIZATION, JSON, f"Content-Length: {cap}", "Expect: 100-continue"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")


def test_pipelined(server: Configured) -> None:
    """A bad request on a connection leaves the next one on it alone."""
    with connect(server) as connection:
        connection.sendall(post(b"[]") + post(b"{}") + asked("GET /v1/models"))
        answers = [receive(connection)]
        answers += [receive(connection) for _ in range(2)] if "connection" not in answers[0].fields else []
    assert [answer.status for answer in answers] == [400, 400, 200]


def test_base64_like_a_path(server: Configured) -> None:
    """The base64 of a JPEG begins with a slash, and is a picture nevertheless."""
    words = uri(photograph("JPEG")).partition(",")[2]
    assert words.startswith("/9j/")
    answer = exchange(server, post(json.dumps(part(type="image", image=words) | {"max_tokens": 1}).encode()))
    assert answer.status == 200
