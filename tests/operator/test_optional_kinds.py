"""Which kinds count as there, and what follows when they come or go."""

import time
from typing import Any

import pytest

from omega_operator import labels
from omega_operator.api import ApiError, NotFound
from omega_operator.cache import Cache
from omega_operator.kinds import POD_MONITOR, RESOURCE, SCALED_OBJECT, TRIGGER_AUTHENTICATION, Key, Kind, Manifest
from omega_operator.optional_kinds import OptionalKinds
from omega_operator.queue import KeyQueue

HEAD = {"namespace": "ns", "name": "vl", "resourceVersion": "1"}
ALL = ["create", "delete", "get", "list", "patch", "watch"]
KEDA = {SCALED_OBJECT, TRIGGER_AUTHENTICATION}


class Server:
    """The API server's discovery: one that fails, or is between two states, cannot be had from a real one."""

    def __init__(self) -> None:
        self.verbs: dict[Kind, list[str]] = {}
        self.away = False

    async def request(self, _: str, path: str) -> Manifest:
        """The kinds of one version of a group."""
        if self.away:
            raise ApiError(503, "away")
        found = [
            {"name": kind.plural, "verbs": verbs}
            for kind, verbs in self.verbs.items()
            if path == f"/apis/{kind.api_version}"
        ]
        if not found:
            raise NotFound(404, "no such group")
        return {"resources": found}


@pytest.fixture
def server() -> Server:
    """Without any optional kind."""
    return Server()


@pytest.fixture
def queue() -> KeyQueue:
    """Empty."""
    return KeyQueue(clock=time.monotonic)


@pytest.fixture
def cache() -> Cache:
    """One resource."""
    cache = Cache()
    cache.put(RESOURCE, {"metadata": HEAD | {"uid": "1"}})
    return cache


@pytest.fixture
def kinds(server: Any, cache: Cache, queue: KeyQueue) -> OptionalKinds:
    """Before the first look."""
    return OptionalKinds(server, cache, queue)


async def test_come_and_go(kinds: OptionalKinds, server: Server, cache: Cache, queue: KeyQueue) -> None:
    """A kind that comes or goes has every resource looked at, one that stays has not; of one that went nothing is left."""
    assert await kinds.known() == set()
    server.verbs = dict.fromkeys(KEDA, ALL)
    await kinds.look()
    assert await kinds.known() == KEDA
    assert len(queue) == 1
    queue.done(await queue.get())
    await kinds.look()
    assert len(queue) == 0
    cache.put(SCALED_OBJECT, {"metadata": HEAD | {"uid": "2", "labels": labels.child("vl", "1")}})
    server.verbs = {}
    await kinds.look()
    assert await kinds.known() == set()
    assert cache.versions(SCALED_OBJECT) == {}
    assert cache.keys() == {Key("ns", "vl")}
    assert len(queue) == 1


async def test_on_its_way_out(kinds: OptionalKinds, server: Server) -> None:
    """A kind whose definition is being deleted is listed, but nothing can be made of it."""
    server.verbs = {POD_MONITOR: ["delete", "get", "list", "watch"]}
    assert await kinds.known() == set()


async def test_an_api_server_that_is_away(kinds: OptionalKinds, server: Server, queue: KeyQueue) -> None:
    """A failure is no news; before anything is known it is the caller's."""
    server.away = True
    with pytest.raises(ApiError):
        await kinds.known()
    server.away, server.verbs = False, {POD_MONITOR: ALL}
    assert await kinds.known() == {POD_MONITOR}
    server.away = True
    await kinds.look()
    assert await kinds.known() == {POD_MONITOR}
    assert len(queue) == 0
