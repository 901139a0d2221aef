"""Whether the watches bring everything: at the beginning, and now and then, the cache is compared with the API server.

Nothing is reconciled before the cache has all that there is: what it lacks would be made anew. Later a watch can go silent
without an error, and a list that follows a gap does not say what was deleted in it. What the cache does not have a few seconds
after the server had it is read, one object after the other. A kind that needs this again and again has a watch that is dead:
/healthz says so, and the kubelet starts the operator anew.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from omega_operator import labels
from omega_operator.api import METADATA_ONLY, Api, ApiError, NotFound
from omega_operator.cache import WATCHED, Cache, keys_of
from omega_operator.kinds import RESOURCE, Key, Kind, Manifest
from omega_operator.metrics import Metrics
from omega_operator.queue import KeyQueue

PERIOD = 30.0
"""Seconds from the beginning of a look to that of the next: a change, and what the cluster makes of what we did about it, are
seen within 75 seconds, even if no watch works.
"""

GRACE = 5.0
"""Seconds that a watch may be later than a look."""

AGAIN = 1.0
"""Seconds after which a server that has not said what there is is asked again."""

PATIENCE = 3
"""Looks in a row at which a kind had to be mended."""

_log = logging.getLogger(__name__)


class Late(NamedTuple):
    """An object of which the cache does not have the newest."""

    uid: str
    version: int
    """Of the server's object, or as of which it is gone."""

    place: Key | None
    """Namespace and name; None: it is gone."""


class Audit:
    """Looks, compares, mends, and remembers which kinds had to be mended."""

    def __init__(
        self,
        *,
        api: Api,
        cache: Cache,
        queue: KeyQueue,
        metrics: Metrics,
        namespaces: tuple[str, ...],
        clock: Callable[[], float],
        grace: float = GRACE,
        first_grace: float = PERIOD,
    ) -> None:
        """Args: the API, the cache, whom to tell of what was mended, the namespaces we serve (none: all), the time.

        And for how many seconds a watch may be later than a look, and at the beginning may bring nothing.
        """
        self._grace, self._first_grace = grace, first_grace
        self.is_complete = asyncio.Event()
        self._api, self._cache, self._queue, self._metrics = api, cache, queue, metrics
        self._namespaces, self._clock = namespaces, clock
        self._mended: dict[Kind, int] = {}
        self._unanswered: dict[Kind, str] = {}  # what has been logged: at the beginning it is asked each second
        self._good = dict.fromkeys(WATCHED, clock())

    @property
    def stale(self) -> list[str]:
        """Kinds whose watch is dead."""
        return [kind.plural for kind, times in self._mended.items() if times >= PATIENCE]

    def ages(self) -> dict[str, float]:
        """By kind: seconds since its watch was last known to have brought everything."""
        now = self._clock()
        return {kind.name: now - since for kind, since in self._good.items()}

    async def run(self) -> None:
        """Wait until the cache has everything, and then look for ever."""
        await self.begin()
        due = self._clock()
        while True:
            due = max(due + PERIOD, self._clock())
            await asyncio.sleep(due - self._clock())
            await self.look()

    async def begin(self) -> None:
        """Wait until the watches have brought all that the server has now, and read what they do not bring."""
        late = {kind: await self._look_until_told(kind) for kind in WATCHED}
        least, since = sys.maxsize, self._clock()
        while self._clock() - since < self._first_grace:
            late = {kind: [one for one in some if self._is_late(kind, one)] for kind, some in late.items()}
            left = sum(map(len, late.values()))
            if not left:
                break
            if left < least:
                least, since = left, self._clock()
            await asyncio.sleep(0.1)
        for kind, some in late.items():
            await self._mend(kind, some)
        self.is_complete.set()

    async def look(self) -> None:
        """Compare all kinds, and mend what is late."""
        looks = {kind: await self._look(kind) for kind in WATCHED}
        if any(looks.values()):
            await asyncio.sleep(self._grace)
        for kind, suspects in looks.items():
            if suspects is not None:
                await self._mend(kind, suspects)

    async def _look_until_told(self, kind: Kind) -> list[Late]:
        while True:
            found = await self._look(kind)
            if found is not None:
                return found
            await asyncio.sleep(AGAIN)

    async def _look(self, kind: Kind) -> list[Late] | None:
        """What the cache does not have as the server has it. None: the server did not say."""
        server: dict[str, tuple[int, Key]] = {}
        moments: list[int] = []
        query = {} if kind is RESOURCE else {"labelSelector": labels.OURS}
        try:
            for namespace in self._namespaces or (None,):
                async for page in self._api.pages(kind, namespace, METADATA_ONLY, **query):
                    moments.append(int(page["metadata"]["resourceVersion"]))
                    for head in (one["metadata"] for one in page["items"]):
                        server[head["uid"]] = int(head["resourceVersion"]), Key(head["namespace"], head["name"])
        except NotFound:
            server, moments = {}, [sys.maxsize]  # the cluster does not know this kind, or no longer
        except ApiError as error:
            if self._unanswered.get(kind) != str(error):
                _log.warning("%s could not be listed: %s", kind.plural, error)
            self._unanswered[kind] = str(error)
            return None
        self._unanswered.pop(kind, None)
        return behind(server, self._cache.versions(kind), min(moments))

    async def _mend(self, kind: Kind, suspects: list[Late]) -> None:
        """Bring in what is late by now."""
        late = [one for one in suspects if self._is_late(kind, one)]
        try:
            for one in late:
                for key in await self._bring(kind, one):
                    self._queue.add(key)
                self._metrics.repaired(kind.name)
        except ApiError as error:
            _log.warning("%s could not be read: %s", kind.plural, error)
            return
        if late:
            _log.warning("the watch of %s had not brought news of %d objects", kind.plural, len(late))
        self._mended[kind] = self._mended.get(kind, 0) + 1 if late else 0
        self._good[kind] = self._clock()

    def _is_late(self, kind: Kind, one: Late) -> bool:
        if one.place is None:
            return self._cache.holds(kind, one.uid, until=one.version)
        return not self._cache.has(kind, one.uid, one.version)

    async def _bring(self, kind: Kind, one: Late) -> frozenset[Key]:
        """Returns the keys that have to be looked at."""
        found = None if one.place is None else await self._api.get(kind, *one.place)
        if found is None or found["metadata"]["uid"] != one.uid or not _is_watched(kind, found):
            return self._cache.remove(kind, one.uid, one.version)
        self._cache.put(kind, found)
        return frozenset(keys_of(kind, found))


def behind(server: Mapping[str, tuple[int, Key]], cached: Mapping[str, int], as_of: int) -> list[Late]:
    """Where the cache is behind.

    Args:
        server: by uid the version and the place of each object at the server.
        cached: by uid the version of each object in the cache.
        as_of: the version of the server's list. What is in the cache and not in the list, and no newer, is gone.
    """
    older = [Late(uid, version, place) for uid, (version, place) in server.items() if cached.get(uid, 0) < version]
    gone = [Late(uid, as_of, None) for uid, version in cached.items() if uid not in server and version <= as_of]
    return older + gone


def _is_watched(kind: Kind, body: Manifest) -> bool:
    """Whether an object is one of those that our watches show."""
    if kind is RESOURCE:
        return True
    name, _, value = labels.OURS.partition("=")
    return bool((body["metadata"].get("labels") or {}).get(name) == value)
