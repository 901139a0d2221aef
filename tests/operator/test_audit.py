"""What the watches did not bring is found and brought; what they are only slow with is not."""

import asyncio
import time
from typing import Any

import pytest

from omega_operator import labels
from omega_operator.api import ApiError
from omega_operator.audit import Audit, Late, behind
from omega_operator.cache import Cache
from omega_operator.kinds import CONFIG_MAP, Key, Kind, Manifest
from omega_operator.metrics import Metrics
from omega_operator.queue import KeyQueue

KEY = Key("ns", "vl")
PLACE = Key("ns", "vl-config")


def test_behind() -> None:
    """Older, unknown and vanished objects are behind; what came after the list is not."""
    assert behind({"u": (5, PLACE)}, {"u": 4}, 9) == [Late("u", 5, PLACE)]
    assert behind({"u": (5, PLACE)}, {}, 9) == [Late("u", 5, PLACE)]
    assert behind({"u": (5, PLACE)}, {"u": 6}, 9) == []
    assert behind({}, {"u": 4}, 9) == [Late("u", 9, None)]
    assert behind({}, {"u": 10}, 9) == []


class Server:
    """The API server, as far as the audit asks it: a fault of a watch cannot be had from a real one."""

    def __init__(self) -> None:
        self.objects: dict[str, Manifest] = {}
        self.version = 1
        self.away = False

    def put(self, name: str) -> Manifest:
        """Create or change a ConfigMap."""
        self.version += 1
        self.objects[name] = config_map(name, self.version)
        return self.objects[name]

    async def pages(self, kind: Kind, *_: Any, **__: Any) -> Any:
        """One page."""
        if self.away:
            raise ApiError(500, "away")
        items = list(self.objects.values()) if kind is CONFIG_MAP else []
        yield {"metadata": {"resourceVersion": str(self.version)}, "items": items}

    async def get(self, _: Kind, __: str, name: str) -> Manifest | None:
        """One object."""
        return self.objects.get(name)


def config_map(name: str, version: int) -> Manifest:
    """Of the resource vl."""
    head = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": head | {"labels": labels.child("vl", "1")}}


@pytest.fixture
def server() -> Server:
    """With one ConfigMap."""
    server = Server()
    server.put("vl-config")
    return server


@pytest.fixture
def cache(server: Server) -> Cache:
    """As new as the server."""
    cache = Cache()
    for one in server.objects.values():
        cache.put(CONFIG_MAP, one)
    return cache


@pytest.fixture
def queue() -> KeyQueue:
    """Empty."""
    return KeyQueue(clock=lambda: 0.0)


@pytest.fixture
def auditor(server: Any, cache: Cache, queue: KeyQueue) -> Audit:
    """Without patience for late news."""
    return Audit(
        api=server,
        cache=cache,
        queue=queue,
        metrics=Metrics(),
        namespaces=(),
        clock=time.monotonic,
        grace=0.0,
        first_grace=0.25,
    )


async def test_nothing_to_mend(auditor: Audit, queue: KeyQueue) -> None:
    """A cache that has everything is left alone."""
    await auditor.look()
    assert (len(queue), auditor.stale) == (0, [])


async def test_a_change_that_no_watch_brought(server: Server, cache: Cache, auditor: Audit, queue: KeyQueue) -> None:
    """It is read, and the resource that it is about is looked at."""
    newer = server.put("vl-config")
    await auditor.look()
    assert cache.versions(CONFIG_MAP) == {"uid-vl-config": int(newer["metadata"]["resourceVersion"])}
    assert await queue.get() == KEY


async def test_an_end_that_no_watch_brought(server: Server, cache: Cache, auditor: Audit, queue: KeyQueue) -> None:
    """What was deleted in a gap goes from the cache, and the resource that it is about is looked at."""
    server.objects.clear()
    server.version += 1
    await auditor.look()
    assert cache.versions(CONFIG_MAP) == {}
    assert await queue.get() == KEY


async def test_a_dead_watch(server: Server, auditor: Audit) -> None:
    """A kind that has to be mended look after look has a dead watch, until a look finds nothing."""
    for _ in range(3):
        assert auditor.stale == []
        server.put("vl-config")
        await auditor.look()
    assert auditor.stale == ["configmaps"]
    await auditor.look()
    assert auditor.stale == []


async def test_a_server_that_is_away(server: Server, cache: Cache, auditor: Audit) -> None:
    """What the server does not say changes nothing, but makes what we know older."""
    server.away = True
    await auditor.look()
    assert len(cache.versions(CONFIG_MAP)) == 1
    age = auditor.ages()["ConfigMap"]
    await auditor.look()
    assert auditor.ages()["ConfigMap"] > age


async def test_the_beginning(server: Server, cache: Cache, auditor: Audit) -> None:
    """Work begins when the watches have brought everything, however long it takes while they bring something."""
    bodies = [server.put(f"vl{number}-config") for number in range(4)]
    beginning = asyncio.create_task(auditor.begin())
    for body in bodies:
        await asyncio.sleep(0.15)
        assert not auditor.is_complete.is_set()
        cache.put(CONFIG_MAP, body)
    await beginning
    assert auditor.is_complete.is_set()


async def test_a_beginning_without_a_watch(server: Server, cache: Cache, auditor: Audit, queue: KeyQueue) -> None:
    """What no watch brings is read before work begins."""
    newer = server.put("vl-config")
    await auditor.begin()
    assert cache.versions(CONFIG_MAP) == {"uid-vl-config": int(newer["metadata"]["resourceVersion"])}
    assert await queue.get() == KEY


async def test_a_beginning_without_a_server(
    server: Server, auditor: Audit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing begins before the server has said what there is; why is logged once, however often it is asked."""
    monkeypatch.setattr("omega_operator.audit.AGAIN", 0.01)
    server.away = True
    beginning = asyncio.create_task(auditor.begin())
    await asyncio.sleep(0.1)
    assert not auditor.is_complete.is_set()
    assert len(caplog.messages) == 1
    server.away = False
    await beginning
    assert auditor.is_complete.is_set()
