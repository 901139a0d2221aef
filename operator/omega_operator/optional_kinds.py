"""Which of the kinds that not every cluster has are there now: their definitions come and go with projects of others."""

import asyncio
import logging
from collections.abc import Iterable

from omega_operator.api import Api, ApiError, NotFound
from omega_operator.cache import Cache
from omega_operator.kinds import OPTIONAL, Kind
from omega_operator.queue import KeyQueue

PERIOD = 10.0
"""Seconds between two looks."""

_log = logging.getLogger(__name__)


class OptionalKinds:
    """Asks the API server's discovery, which everybody may read; definitions themselves not everybody may."""

    def __init__(self, api: Api, cache: Cache, queue: KeyQueue) -> None:
        """Args: the API, the resources, and who looks at them again when the cluster has learned or forgotten a kind."""
        self._api, self._cache, self._queue = api, cache, queue
        self._known: frozenset[Kind] | None = None

    async def known(self) -> frozenset[Kind]:
        """As of the last look; the first one is made here if need be.

        Raises:
            ApiError: the API server failed at that.
        """
        if self._known is None:
            self._known = await self._find()
        return self._known

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(PERIOD)
            await self.look()

    async def look(self) -> None:
        """Have all resources looked at if something is different. What cannot be learned stays as it was."""
        try:
            found = await self._find()
        except ApiError as error:
            _log.warning("which kinds there are could not be read: %s", error)
            return
        if self._known in {None, found}:
            return
        _log.info("the cluster has now, of optional kinds: %s", ", ".join(sorted(one.name for one in found)) or "none")
        for kind in (self._known or frozenset()) - found:
            self._cache.forget(kind)
        self._known = found
        for key in self._cache.keys():  # noqa: SIM118 - a method of ours, not a dictionary's
            self._queue.add(key)

    async def _find(self) -> frozenset[Kind]:
        versions = sorted({kind.api_version for kind in OPTIONAL})
        return frozenset().union(*await asyncio.gather(*map(self._served, versions)))

    async def _served(self, api_version: str) -> Iterable[Kind]:
        """The optional kinds of one version of a group."""
        try:
            answer = await self._api.request("GET", f"/apis/{api_version}")
        except NotFound:
            return ()
        # A definition that is being deleted is still listed, but nothing can be made of it any more.
        names = {one["name"] for one in answer.get("resources") or () if "create" in one["verbs"]}
        return {kind for kind in OPTIONAL if kind.api_version == api_version and kind.plural in names}
