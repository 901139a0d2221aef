"""A WebSocket's own side, without a network: who may open it, and what a slow reader costs."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from omega_server import chat, websocket
from omega_server.keys import Keyring
from omega_server.metrics import Metrics


class Peer:
    """A client, and the network between."""

    def __init__(self, *, key: str | None = None, origin: str | None = None, keyring: str | None = None) -> None:
        headers = [(b"host", b"server:8000")]
        headers += [(b"authorization", f"Bearer {key}".encode())] if key else []
        headers += [(b"origin", origin.encode())] if origin else []
        scope = {"type": "websocket", "path": websocket.PATH, "headers": headers, "subprotocols": []}
        self.serving = SimpleNamespace(
            keys=Keyring(None, keyring),
            metrics=Metrics(lambda: ()),
            draining=asyncio.Event(),
            answering=nullcontext,
            state="ready",
            tracing=None,
        )
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.inbox.put_nowait({"type": "websocket.connect"})
        self.sent: list[dict[str, Any]] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.connection = websocket.Connection(self.serving, scope, self.inbox.get, self._send)  # type: ignore[arg-type]

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        await self.reading.wait()

    def say(self, **message: Any) -> None:
        """Send a message."""
        self.inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    def texts(self) -> list[dict[str, Any]]:
        """What was sent as text."""
        return [json.loads(message["text"]) for message in self.sent if "text" in message]


@pytest.mark.parametrize(
    ("origin", "key", "keyring", "status"),
    [
        (None, None, None, None),
        ("http://server:8000", None, None, None),
        ("https://elsewhere.example", None, None, 401),
        ("https://elsewhere.example", "any", None, 401),
        ("null", None, None, 401),
        ("https://elsewhere.example", "right", "right", None),
        (None, "wrong", "right", 401),
    ],
)
async def test_who_may_connect(origin: str | None, key: str | None, keyring: str | None, status: int | None) -> None:
    """Any program; a page in a browser only if it is our own, or if it must know a key."""
    peer = Peer(origin=origin, key=key, keyring=keyring)
    peer.inbox.put_nowait({"type": "websocket.disconnect"})
    await peer.connection.serve()
    assert peer.sent[0].get("status") == status
    assert (peer.sent[0]["type"] == "websocket.accept") == (status is None)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Answers that never end; what was taken of them."""
    made: list[int] = []

    async def chunks() -> AsyncGenerator[dict[str, Any], None]:
        while True:
            made.append(1)
            yield {"choices": []}
            await asyncio.sleep(0)

    async def prepare(*_: Any) -> None:
        """Nothing."""

    async def open_stream(*_: Any) -> AsyncGenerator[dict[str, Any], None]:
        return chunks()

    monkeypatch.setattr(chat, "prepare", prepare)
    monkeypatch.setattr(chat, "open_stream", open_stream)
    return made


async def test_a_slow_reader(endless: list[int]) -> None:
    """While nothing is read, nothing more is made than one chunk for each request; later it goes on."""
    peer = Peer()
    serving = asyncio.ensure_future(peer.connection.serve())
    while not peer.sent:
        await asyncio.sleep(0)
    peer.reading.clear()
    for name in ("a", "b", "c"):
        peer.say(type="request", id=name, request={"messages": [{"role": "user", "content": "hello"}]})
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(endless) == len(peer.texts()) == 3
    peer.reading.set()
    while len(endless) < 30:
        await asyncio.sleep(0)
    peer.inbox.put_nowait({"type": "websocket.disconnect"})
    await serving


async def test_a_request_that_is_cancelled_at_once(endless: list[int]) -> None:
    """Before it could begin, it is told as cancelled too."""
    peer = Peer()
    serving = asyncio.ensure_future(peer.connection.serve())
    peer.say(type="request", id="a", request={"messages": [{"role": "user", "content": "hello"}]})
    peer.say(type="cancel", id="a")
    while not peer.texts() or peer.texts()[-1]["type"] == "chunk":
        await asyncio.sleep(0)
    assert peer.texts()[-1] == {"type": "cancelled", "id": "a"}
    peer.inbox.put_nowait({"type": "websocket.disconnect"})
    await serving


async def test_drain(endless: list[int]) -> None:
    """A stopping server takes no more, ends what runs here, and says that another one will answer."""
    peer = Peer()
    serving = asyncio.ensure_future(peer.connection.serve())
    hello = {"messages": [{"role": "user", "content": "hello"}]}
    peer.say(type="request", id="a", request=hello)
    while not peer.texts():
        await asyncio.sleep(0)
    peer.serving.state = "draining"
    peer.serving.draining.set()
    peer.say(type="request", id="late", request=hello)
    while not any(message["id"] == "late" for message in peer.texts()):
        await asyncio.sleep(0)
    (late,) = (message for message in peer.texts() if message["id"] == "late")
    assert (late["error"]["code"], late["status"], late["retry_after"]) == ("not_ready", 503, 2)
    assert not serving.done()
    peer.say(type="cancel", id="a")
    await serving
    assert peer.sent[-1]["type"] == "websocket.close"
    assert peer.sent[-1]["code"] == 1012


async def test_an_idle_connection_drains_at_once() -> None:
    """It has nothing to wait for."""
    peer = Peer()
    serving = asyncio.ensure_future(peer.connection.serve())
    peer.serving.draining.set()
    await serving
    assert [message["type"] for message in peer.sent] == ["websocket.accept", "websocket.close"]
