"""What is written to the cluster, and how often."""

from __future__ import annotations

import time
from typing import Any

import pytest

from omega_operator import labels
from omega_operator.api import AlreadyExists, ApiError, Fenced
from omega_operator.kinds import NODE, POD, Key, Kind, Manifest
from omega_operator.kube import Kube
from omega_operator.room import Candidate

A = Key("ns", "a")
EVENT = {"metadata": {"name": "a.1"}}
NODE_OF_8 = {
    "metadata": {"name": "n1"},
    "spec": {},
    "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"gpu": "8", "pods": "9"}},
}


def pod(name: str, of: str, node: str | None = "n1", phase: str = "Running") -> Manifest:
    """A pod with 8 GPUs, of a resource."""
    head = {"name": name, "namespace": "ns", "labels": labels.pod(of)}
    container = {"resources": {"limits": {"gpu": "8"}}}
    return {"metadata": head, "spec": {"nodeName": node, "containers": [container]}, "status": {"phase": phase}}


class Server:
    """An API server that refuses what it is told to, and takes down what it is asked for."""

    def __init__(self) -> None:
        self.refusals: list[Exception | None] = []
        self.asked: list[str] = []
        self.pods: list[Manifest] = []

    async def request(self, method: str, path: str, **_: Any) -> dict[str, Any]:
        """Refuse, or do it."""
        self.asked.append(path.rsplit("/", 1)[-1])
        if self.refusals and (refusal := self.refusals.pop(0)):
            raise refusal
        return {"metadata": {"resourceVersion": "1"}}

    async def list(self, kind: Kind, *_: Any, **__: Any) -> list[Manifest]:
        """What is there."""
        self.asked.append(kind.plural)
        return {NODE: [NODE_OF_8], POD: self.pods}.get(kind, [])


@pytest.fixture
def server() -> Server:
    """Refuses nothing yet."""
    return Server()


@pytest.fixture
def kube(server: Any) -> Kube:
    """Before that server."""
    return Kube(server, lambda: True, (), time.monotonic, wrote=lambda *_: None, remember=lambda *_: None)


async def test_an_event_is_told_once(kube: Kube, server: Server) -> None:
    """While the status that belongs to it is refused, an Event is not sent again; after it, the same is news again."""
    server.refusals = [ApiError(500, "no"), None, ApiError(500, "no")]
    with pytest.raises(ApiError):
        await kube.tell(A, EVENT)
    before = kube.progress(A)
    assert await kube.tell(A, EVENT)
    assert kube.progress(A) > before
    with pytest.raises(ApiError):
        await kube.write_status(A, "uid", {})
    assert not await kube.tell(A, EVENT)
    assert server.asked == ["events", "events", "status"]
    await kube.write_status(A, "uid", {})
    assert await kube.tell(A, EVENT)


async def test_an_event_that_is_there_is_no_news(kube: Kube, server: Server) -> None:
    """What an earlier process has told is not told again."""
    server.refusals = [AlreadyExists(409, "there is one")]
    assert not await kube.tell(A, EVENT)
    assert not await kube.tell(A, EVENT)
    assert server.asked == ["events"]


async def test_room_is_looked_at_anew(kube: Kube, server: Server) -> None:
    """One look serves everybody for a while, but not who has a pod that came to a node since, or lost one."""
    mine, wish = pod("a-1", of="a"), Candidate.of("ns", pod("a-2", of="a", node=None))

    async def takes(*pods: Manifest, key: Key = A) -> bool:
        room = await kube.room(key, "", pods)
        assert room is not None
        return room.takes(wish)

    assert await takes(pod("a-1", of="a", node=None))
    server.pods = [mine]
    assert await takes(key=Key("ns", "b")), "nothing of b came or went"
    assert await takes(pod("a-0", of="a", phase="Failed"), pod("a-3", of="a", node="cordoned"))
    assert not await takes(mine)
    server.pods = []
    assert not await takes(mine)
    assert not await takes(key=Key("ns", "b"))
    assert await takes()
    assert server.asked.count("nodes") == 3


async def test_what_the_fence_stops_is_no_write() -> None:
    """A write that was not sent, since we do not lead, is not counted; one that was refused is."""
    server, wrote = Server(), list[tuple[str, str, str]]()
    server.refusals = [Fenced(), ApiError(500, "no"), None]
    kube = Kube(
        server,  # type: ignore[arg-type]
        lambda: True,
        (),
        time.monotonic,
        wrote=lambda *one: wrote.append(one),
        remember=lambda *_: None,
    )
    for error in (Fenced, ApiError):
        with pytest.raises(error):
            await kube.tell(A, EVENT)
    assert await kube.tell(A, EVENT)
    assert wrote == [("Event", "create", "failed"), ("Event", "create", "ok")]
