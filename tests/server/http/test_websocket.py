"""Chat over a WebSocket, with a real client."""

import base64
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from demo_server import KEY, Configured, circle, shown, until, uri
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.timeout(1200)

PATH = "/v1/chat/completions/ws"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0}
LONG = {**HELLO, "min_tokens": 3500, "max_tokens": 3500}


def open_socket(server: Configured, path: str = PATH, **arguments: Any) -> ClientConnection:
    """A connection with the right key, unless other arguments say otherwise."""
    arguments = arguments or {"additional_headers": {"Authorization": f"Bearer {KEY}"}}
    return connect(server.url.replace("http", "ws") + path, max_size=None, proxy=None, **arguments)


@pytest.fixture
def socket(server: Configured) -> Iterator[ClientConnection]:
    """A connection."""
    with open_socket(server) as connection:
        yield connection


def ask(socket: ClientConnection, name: str, **request: Any) -> None:
    """Send a request."""
    socket.send(json.dumps({"type": "request", "id": name, "request": request}))


def next_message(socket: ClientConnection) -> dict[str, Any]:
    """What comes next."""
    message: dict[str, Any] = json.loads(socket.recv(120))
    return message


def until_ended(socket: ClientConnection, *names: str) -> dict[str, list[dict[str, Any]]]:
    """All messages by id, until each of these has ended."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    left = set(names)
    while left:
        message = next_message(socket)
        found[message["id"]].append(message)
        if message["type"] != "chunk":
            left.remove(message["id"])
    return found


def text(messages: list[dict[str, Any]]) -> str:
    """Of an answer's chunks."""
    choices = [choice for message in messages if message["type"] == "chunk" for choice in message["chunk"]["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def test_the_chunks_are_those_of_a_stream(server: Configured, socket: ClientConnection) -> None:
    """But for ids and times, which are new for each answer: with a picture, logprobs, two choices and usage."""
    body = {
        "messages": [{"role": "user", "content": shown(uri(circle("red")))}],
        "stream_options": {"include_usage": True},
        "seed": 1,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "max_tokens": 8,
    }
    with server.client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as response:
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
    ask(socket, "one", **body)
    messages = until_ended(socket, "one")["one"]
    chunks = [message["chunk"] for message in messages[:-1]]
    assert messages[-1] == {"type": "done", "id": "one"}
    assert len({chunk["id"] for chunk in chunks}) == 1

    def by_choice(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Two choices come in any order, and a word with its neighbours or alone."""
        bodies = [{name: value for name, value in body.items() if name not in ("id", "created")} for body in bodies]
        for body in bodies:  # what was cached the first time may not have been, or the reverse
            (body["usage"] or {}).pop("prompt_tokens_details", None)
        return sorted(bodies, key=lambda body: [choice["index"] for choice in body["choices"]] or [9])

    assert by_choice(chunks) == by_choice(events)


def test_several_at_once(socket: ClientConnection) -> None:
    """Each answer has its id, and they come side by side."""
    colours = ("red", "blue", "green")
    for colour in colours:
        content = shown(uri(circle(colour)))
        ask(socket, colour, messages=[{"role": "user", "content": content}], temperature=0)
    ask(socket, "long", **{**HELLO, "min_tokens": 400, "max_tokens": 400})
    found = until_ended(socket, *colours, "long")
    assert [colour for colour in colours if colour not in text(found[colour])] == []
    assert found["long"][-1]["type"] == "done"


def test_cancel(server: Configured, socket: ClientConnection) -> None:
    """What is cancelled frees its place in the engine and says so; others go on."""
    ask(socket, "endless", **LONG)
    assert next_message(socket)["type"] == "chunk"
    socket.send(json.dumps({"type": "cancel", "id": "endless"}))
    messages = until_ended(socket, "endless")["endless"]
    assert messages[-1] == {"type": "cancelled", "id": "endless"}
    until(lambda: engine(server) == 0, 20)
    socket.send(json.dumps({"type": "cancel", "id": "endless"}))  # too late, and no harm
    ask(socket, "endless", **HELLO)
    assert until_ended(socket, "endless")["endless"][-1]["type"] == "done"


def engine(server: Configured) -> int:
    """Requests that the engine has."""
    (found,) = server.client.get("/health").json()["engines"]
    return int(found["running"] + found["waiting"])


def test_hanging_up(server: Configured) -> None:
    """A client that goes away frees everything that it asked for."""
    with open_socket(server) as socket:
        ask(socket, "one", **LONG)
        ask(socket, "two", **LONG)
        until(lambda: engine(server) == 2, 20)
    until(lambda: engine(server) == 0, 20)


@pytest.mark.parametrize(
    ("message", "name", "code", "param"),
    [
        ("nonsense", None, "invalid_json", None),
        ("[]", None, "invalid_type", None),
        ('{"id": "a"}', "a", "invalid_value", "type"),
        ('{"type": "cancel"}', None, "missing_required_parameter", "id"),
        ('{"type": "cancel", "id": 7}', None, "invalid_type", "id"),
        ('{"type": "cancel", "id": ""}', "", "invalid_value", "id"),
        ('{"type": "request", "id": "a"}', "a", "missing_required_parameter", "request"),
        ('{"type": "request", "id": "a", "request": {}, "more": 1}', "a", "unknown_parameter", "more"),
        ('{"type": "request", "id": "a", "request": {}}', "a", "missing_required_parameter", "messages"),
        (
            json.dumps({"type": "request", "id": "a", "request": {**HELLO, "stream": False}}),
            "a",
            "invalid_value",
            "stream",
        ),
        (
            json.dumps({"type": "request", "id": "a", "request": {**HELLO, "temperature": 3}}),
            "a",
            "decimal_above_max_value",
            "temperature",
        ),
    ],
)
def test_bad_messages(socket: ClientConnection, message: str, name: str | None, code: str, param: str | None) -> None:
    """The error is that of the API, and the connection goes on."""
    socket.send(message)
    answer = next_message(socket)
    assert (answer["type"], answer["id"], answer["status"]) == ("error", name, 400)
    assert (answer["error"]["code"], answer["error"]["param"]) == (code, param)
    ask(socket, "after", **{**HELLO, "max_tokens": 1})
    assert until_ended(socket, "after")["after"][-1]["type"] == "done"


def test_too_many(socket: ClientConnection) -> None:
    """An id is one request's, and the number of requests is bounded; what runs goes on."""
    for number in range(17):
        ask(socket, str(number), **{**HELLO, "min_tokens": 200, "max_tokens": 200})
    ask(socket, "0", **HELLO)
    refused = []
    while len(refused) < 2:
        message = next_message(socket)
        if message["type"] == "error":
            refused.append((message["id"], message["error"]["code"], message.get("retry_after")))
    assert refused == [("16", "rate_limit_exceeded", 1), ("0", "invalid_value", None)]
    for number in range(16):
        socket.send(json.dumps({"type": "cancel", "id": str(number)}))


@pytest.mark.parametrize("key", [None, "wrong", "Right-Key"])
def test_without_a_key(server: Configured, key: str | None) -> None:
    """There is no connection, and the answer is that of the API."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with pytest.raises(InvalidStatus) as refused:
        open_socket(server, additional_headers=headers)
    response = refused.value.response
    assert response.status_code == 401
    assert response.body is not None
    assert json.loads(response.body)["error"]["code"] == "invalid_api_key"


def test_the_key_of_a_browser(server: Configured) -> None:
    """It comes in a subprotocol, because a browser can send no header; the other one is chosen."""
    word = "bearer." + base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("=")
    with open_socket(server, subprotocols=["omega.chat.v1", word], origin="https://elsewhere.example") as socket:
        assert socket.subprotocol == "omega.chat.v1"
        ask(socket, "a", **{**HELLO, "max_tokens": 1})
        assert until_ended(socket, "a")["a"][-1]["type"] == "done"
    for broken in ("bearer.!", "bearer.AAAA", "bearer."):
        with pytest.raises(InvalidStatus):
            open_socket(server, subprotocols=["omega.chat.v1", broken])


def test_another_path(server: Configured) -> None:
    """Only one path speaks WebSocket; ours speaks nothing else."""
    for path in ("/v1/chat/completions", "/live", "/nonsense"):
        with pytest.raises(InvalidStatus) as refused:
            open_socket(server, path)
        assert refused.value.response.status_code == 404
    assert server.client.get(PATH).status_code == 404


@pytest.mark.parametrize("what", ["binary", "large"])
def test_what_is_no_message_ends_the_connection(server: Configured, what: str) -> None:
    """A binary message, and one that says that it will be larger than a request may be."""
    with open_socket(server) as socket:
        if what == "binary":
            socket.send(b"{}")
        else:
            socket.socket.sendall(b"\x81\xff" + (1 << 30).to_bytes(8, "big") + os.urandom(4))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == (1003 if what == "binary" else 1009)


def test_requests_are_counted_and_logged(server: Configured, socket: ClientConnection) -> None:
    """As if they had come alone, each with an id that begins with the connection's."""
    assert socket.response is not None
    connection = socket.response.headers["X-Request-Id"]
    ask(socket, "a", **{**HELLO, "max_tokens": 1})
    until_ended(socket, "a")

    def logged() -> bool:
        lines = server.log.read_text().splitlines()
        return any(f"path={PATH} status=200" in line and f"request_id={connection}:1" in line for line in lines)

    until(logged, 10)
    metrics = server.client.get("/metrics").text
    assert 'omega_http_responses_total{path="/v1/chat/completions/ws",status="200"}' in metrics
