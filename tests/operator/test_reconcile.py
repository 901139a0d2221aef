"""What one pass leaves to the next."""

import time
from typing import Any

import pytest

from omega_operator.cache import Cache
from omega_operator.downloads import Downloads
from omega_operator.kinds import RESOURCE, Key, Kind, Manifest
from omega_operator.kube import Kube
from omega_operator.pods import PodConfigs
from omega_operator.reconcile import AFTER_OTHERS, Reconciler, utc_now
from omega_operator.settings import Settings

KEY = Key("ns", "vl")
RIGHT: Manifest = {"model": {"source": "path:///models/omega"}, "gpu": {"count": 0, "device": "cpu"}, "replicas": 0}
WRONG: Manifest = {"model": {"source": "nowhere"}}


def resource(version: int, generation: int, **parts: Any) -> Manifest:
    """A resource that cannot be served."""
    head = {"namespace": "ns", "name": "vl", "uid": "u", "resourceVersion": str(version), "generation": generation}
    kind = {"apiVersion": RESOURCE.api_version, "kind": RESOURCE.name}
    return kind | {"metadata": head, "spec": WRONG} | parts


class Server:
    """An API server on which somebody may change the resource before its status is written."""

    def __init__(self) -> None:
        self.changes = 0
        self.written: list[str] = []

    async def get(self, kind: Kind, *_: Any) -> Manifest | None:
        """The resource is there, and no child before it is written."""
        return resource(5, 2) if kind is RESOURCE else None

    async def request(self, _: str, path: str, *, body: Manifest, **__: Any) -> Manifest:
        """Do it."""
        self.written.append(path.rpartition("/")[2])
        if not path.endswith("/status"):
            return body | {"metadata": body["metadata"] | {"uid": path, "resourceVersion": "5"}}
        return resource(5 + self.changes, 1 + self.changes, status=body["status"])


@pytest.fixture
def server() -> Server:
    """On which nobody does."""
    return Server()


@pytest.fixture
def cache() -> Cache:
    """With the resource."""
    cache = Cache()
    cache.put(RESOURCE, resource(4, 1))
    return cache


class Kinds:
    """A cluster without any optional kind."""

    async def known(self) -> frozenset[Kind]:
        """None."""
        return frozenset()


@pytest.fixture
def others() -> list[str]:
    """Other resources that wait: none."""
    return []


@pytest.fixture
def reconciler(server: Any, cache: Cache, others: list[str]) -> Reconciler:
    """Of a cluster without pods: nobody is asked anything."""
    kinds: Any = Kinds()
    session: Any = None
    kube = Kube(server, lambda: True, (), time.monotonic, wrote=lambda *_: None, remember=cache.put)
    return Reconciler(
        cache=cache,
        kube=kube,
        pods=PodConfigs(session, kube, time.monotonic),
        downloads=Downloads(session, time.monotonic),
        kinds=kinds,
        settings=Settings(server_image="omega-server:1", pod_name="operator-0"),
        now=utc_now,
        others_wait=lambda: bool(others),
    )


async def test_what_was_written_is_no_news(reconciler: Reconciler, cache: Cache) -> None:
    """The status is known before the watch brings it, and then there is nothing left to do."""
    assert await reconciler.reconcile(KEY) is None
    known = cache.resource(KEY)
    assert known is not None
    assert not cache.put(RESOURCE, known)
    assert {one["type"] for one in known["status"]["conditions"]} >= {"Ready", "Stalled"}


async def test_a_change_before_the_status_is_written(reconciler: Reconciler, server: Server, cache: Cache) -> None:
    """What somebody changed meanwhile comes with the answer, and is looked at at once."""
    server.changes = 1
    assert await reconciler.reconcile(KEY) == 0
    known = cache.resource(KEY)
    assert known is not None
    assert known["metadata"]["generation"] == 2
    assert cache.put(RESOURCE, resource(5, 2)), "the watch brings the change after the answer: nobody has looked at it"


async def test_children_of_others_come_first(
    reconciler: Reconciler, server: Server, cache: Cache, others: list[str]
) -> None:
    """While others wait for their children the status is left for a later pass, which writes it whoever waits then."""
    cache.put(RESOURCE, resource(5, 2, spec=RIGHT))
    others.append("other")
    assert await reconciler.reconcile(KEY) == AFTER_OTHERS
    assert "vl-config" in server.written
    assert "status" not in server.written
    children = len(server.written)
    await reconciler.reconcile(KEY)
    assert server.written[children:] == ["events", "status"]
