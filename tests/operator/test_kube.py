"""What is written to the cluster, and how often."""

from __future__ import annotations

import time
from typing import Any

import pytest

from omega_operator.api import AlreadyExists, ApiError
from omega_operator.kinds import Key
from omega_operator.kube import Kube

A = Key("ns", "a")
EVENT = {"metadata": {"name": "a.1"}}


class Server:
    """An API server that refuses what it is told to, and takes down what it is asked for."""

    def __init__(self) -> None:
        self.refusals: list[ApiError | None] = []
        self.asked: list[str] = []

    async def request(self, method: str, path: str, **_: Any) -> dict[str, Any]:
        """Refuse, or do it."""
        self.asked.append(path.rsplit("/", 1)[-1])
        if self.refusals and (refusal := self.refusals.pop(0)):
            raise refusal
        return {"metadata": {"resourceVersion": "1"}}


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
