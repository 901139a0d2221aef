"""kopf's part: it watches, fills the cache, and tells the queue which key to look at. Nothing else happens here.

Only event handlers: any other kind would write kopf's annotations or finalizers into the resource, and with an index kopf wakes
every object that waits for the others whenever one has come: with n objects n * n / 2 times.
"""

import logging
from typing import Any

import kopf

from omega_operator import labels
from omega_operator.cache import WATCHED, Cache, keys_of
from omega_operator.kinds import RESOURCE, Kind
from omega_operator.queue import KeyQueue


def register(registry: kopf.OperatorRegistry, cache: Cache, queue: KeyQueue, *, watch_cluster: bool) -> None:
    """Register all handlers.

    Args:
        registry: of kopf.
        cache: what the watches fill.
        queue: what is told of each change.
        watch_cluster: whether definitions and namespaces may be watched, which belong to no namespace.
    """

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings, watch_cluster=watch_cluster)

    for kind in WATCHED:
        _watch(registry, kind, cache, queue)


def _watch(registry: kopf.OperatorRegistry, kind: Kind, cache: Cache, queue: KeyQueue) -> None:
    selector = (kind.group, kind.version, kind.plural)

    @kopf.on.event(*selector, id=f"seen_{kind.plural}", registry=registry)
    async def see(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's name
        if type == "DELETED":
            cache.remove(kind, body["metadata"]["uid"], int(body["metadata"]["resourceVersion"]))
        elif not cache.put(kind, body):
            return
        for key in keys_of(kind, body):
            queue.add(key)


def configure(settings: kopf.OperatorSettings, *, watch_cluster: bool) -> None:
    """Watches that never give up, see only what is ours, and write nothing."""
    # What is forbidden kopf asks for again like anything that failed, and no watch would ever begin.
    settings.scanning.disabled = not watch_cluster
    # A kind that the cluster does not know may come later, as PodMonitor does: no reason to warn.
    logging.getLogger("kopf._core.reactor.observation").setLevel(logging.ERROR)
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = _Patience()
    settings.watching.server_timeout = 300
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 500
    settings.queueing.worker_limit = None
    settings.persistence.diffbase_storage, settings.persistence.progress_storage = _NoEssence(), _NoProgress()
    for kind in WATCHED:
        if kind is not RESOURCE:
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = labels.OURS


class _NoEssence(kopf.DiffBaseStorage):
    """Of an object nothing is compared with what it was: that serves handlers of a kind that we have none of.

    It would take kopf half of its time for an event.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Nothing."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """Nothing was ever stored."""

    def store(self, **_: Any) -> None:
        """Stores nothing."""


class _NoProgress(kopf.ProgressStorage):
    """How far handlers are is written nowhere."""

    def fetch(self, **_: Any) -> None:
        """Nothing was ever stored."""

    def store(self, **_: Any) -> None:
        """Stores nothing."""

    def purge(self, **_: Any) -> None:
        """There is nothing to purge."""

    def touch(self, **_: Any) -> None:
        """Leaves the object alone."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """As it is: it has no progress in it."""
        return essence


class _Patience:
    """1, 2, 4 and then 8 seconds for ever: an API server that is away is waited for."""

    def __iter__(self) -> "Any":
        """Seconds between two attempts."""
        yield from (1, 2, 4)
        while True:
            yield 8
