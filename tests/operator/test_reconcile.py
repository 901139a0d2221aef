"""What one pass leaves to the next."""

import time
from typing import Any

import pytest

from omega_operator.cache import Cache
from omega_operator.kinds import RESOURCE, Key, Manifest
from omega_operator.kube import Kube
from omega_operator.reconcile import Reconciler, utc_now
from omega_operator.settings import Settings

KEY = Key("ns", "vl")
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

    async def request(self, _: str, path: str, *, body: Manifest, **__: Any) -> Manifest:
        """Do it."""
        if not path.endswith("/status"):
            return body
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


@pytest.fixture
def reconciler(server: Any, cache: Cache) -> Reconciler:
    """Without what a resource that cannot be served does not need."""
    nothing: Any = None
    kube = Kube(server, lambda: True, (), time.monotonic, wrote=lambda *_: None, remember=cache.put)
    return Reconciler(
        cache=cache,
        kube=kube,
        pods=nothing,
        downloads=nothing,
        kinds=nothing,
        settings=Settings(server_image="omega-server:1", pod_name="operator-0"),
        now=utc_now,
        others_wait=lambda: False,
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
