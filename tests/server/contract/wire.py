"""Requests as bytes, for what no HTTP client would send."""

import json
import socket
from dataclasses import dataclass
from typing import Any

from demo_server import KEY, Configured

AUTHORIZATION = f"Authorization: Bearer {KEY}"


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP status.
        fields: of the header, names in lower case.
        body: the JSON value, or None if there is none.
    """

    status: int
    fields: dict[str, str]
    body: Any

    @property
    def code(self) -> str | None:
        """The error's code, if the body is exactly an error that is nobody's fault but the client's."""
        error = dict(self.body["error"])
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["param"]) == ("invalid_request_error", None)
        return str(error["code"])


def connect(server: Configured) -> socket.socket:
    """A connection to the server."""
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=120)


def head(line: str, *fields: str) -> bytes:
    """A request's first line and header."""
    return "\r\n".join([f"{line} HTTP/1.1", *fields, "", ""]).encode("latin-1")


def post(content: bytes, *fields: str, path: str = "/v1/chat/completions") -> bytes:
    """A whole request with a JSON body."""
    given = ("Host: x", AUTHORIZATION, "Content-Type: application/json", f"Content-Length: {len(content)}", *fields)
    return head(f"POST {path}", *given) + content


def exchange(server: Configured, sent: bytes) -> Answer:
    """What the server answers to some bytes."""
    with connect(server) as connection:
        connection.sendall(sent)
        return receive(connection)


def receive(connection: socket.socket) -> Answer:
    """The next answer on a connection, and no byte of the one after it."""
    start = b""
    while not start.endswith(b"\r\n\r\n"):
        start += _some(connection, 1)
    line, *fields = start.decode("latin-1").strip().split("\r\n")
    named = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    rest = b""
    while len(rest) < int(named["content-length"]):
        rest += _some(connection, int(named["content-length"]) - len(rest))
    is_json = rest and named["content-type"] == "application/json"
    return Answer(int(line.split()[1]), named, json.loads(rest) if is_json else None)


def closed(connection: socket.socket) -> bool:
    """Whether the server has closed a connection, or does so within a moment."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def _some(connection: socket.socket, most: int) -> bytes:
    data = connection.recv(most)
    assert data, "the connection ended before the answer"
    return data
