"""Whether the watches still bring news: now and then the cache is compared with the API server.

A watch can go silent without an error. Then an object in the cache stays at an older version than the server's; if it
does so over several looks, the operator is blind, and /healthz says so, and the kubelet starts it anew.
"""

import asyncio
import logging
from collections.abc import Mapping

import aiohttp

from omega_operator import labels
from omega_operator.api import METADATA_ONLY, Api, ApiError, NotFound
from omega_operator.cache import WATCHED, Cache
from omega_operator.kinds import RESOURCE, Kind

PERIOD = 20.0
"""Seconds between two looks."""

PATIENCE = 3
"""Looks in a row at which an object must be behind."""

_log = logging.getLogger(__name__)

Versions = Mapping[str, str]
"""By uid: resource version."""


class Audit:
    """Compares, and remembers what was behind before."""

    def __init__(self, api: Api, cache: Cache, namespaces: tuple[str, ...]) -> None:
        """Args: the API, the cache, the namespaces we serve (none: all)."""
        self._api, self._cache, self._namespaces = api, cache, namespaces
        self._behind: dict[Kind, dict[tuple[str, str | None], int]] = {}

    @property
    def stale(self) -> list[str]:
        """Kinds whose watch has gone silent."""
        return [kind.plural for kind, counts in self._behind.items() if max(counts.values(), default=0) >= PATIENCE]

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(PERIOD)
            for kind in WATCHED:
                try:
                    server = await self._versions(kind)
                except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                    _log.warning("%s could not be listed: %s", kind.plural, error or type(error).__name__)
                    continue
                self._behind[kind] = behind(server, self._cache.versions(kind), self._behind.get(kind, {}))

    async def _versions(self, kind: Kind) -> Versions:
        query = {} if kind is RESOURCE else {"labelSelector": labels.OURS}
        found = {}
        for namespace in self._namespaces or (None,):
            try:
                items = await self._api.list(kind, namespace, METADATA_ONLY, **query)
            except NotFound:
                continue  # the cluster does not know this kind
            found.update({one["metadata"]["uid"]: one["metadata"]["resourceVersion"] for one in items})
        return found


def behind(
    server: Versions, cached: Versions, before: Mapping[tuple[str, str | None], int]
) -> dict[tuple[str, str | None], int]:
    """How many looks in a row each object has been different, and cached at the same version all the while."""
    different = [(uid, cached.get(uid)) for uid in server.keys() | cached.keys() if server.get(uid) != cached.get(uid)]
    return {one: before.get(one, 0) + 1 for one in different}
