"""One replica of the operator writes at a time: it holds a Lease.

Our own, and not the one of the `kubernetes` package: that one goes by the wall clock, has no limit for a request that
hangs, and never gives the Lease back. Here a holder stops writing before anybody else may begin, by monotonic time.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp

from omega_operator.api import Api, ApiError, Conflict
from omega_operator.kinds import LEASE, Manifest

NAME = "omega-operator"
DURATION = 15.0
"""Seconds after the last renewal after which another replica takes over."""

DEADLINE = 10.0
"""Seconds after the last renewal after which the holder stops writing; a request takes less than the difference."""

PERIOD = 2.0
"""Seconds between two attempts to get or renew the Lease."""

_log = logging.getLogger(__name__)


class Election:
    """This process as a candidate."""

    def __init__(self, api: Api, namespace: str, identity: str, clock: Callable[[], float]) -> None:
        """Args: the API, where the Lease is, our name, unique among the replicas, and a monotonic clock in seconds."""
        self._api, self._namespace, self._identity, self._clock = api, namespace, identity, clock
        self._leads_until = float("-inf")
        self._seen: tuple[Any, float] = (None, 0.0)
        self._elected = asyncio.Event()
        self.has_answer = False

    def leads(self) -> bool:
        """Whether this process may write now."""
        return self._clock() < self._leads_until

    async def wait(self) -> None:
        """Return when this process leads."""
        while not self.leads():
            self._elected.clear()
            await self._elected.wait()

    async def run(self) -> None:
        """Take part until cancelled, then give the Lease back."""
        try:
            while True:
                await self._attempt()
                await asyncio.sleep(PERIOD)
        finally:
            await self._release()

    async def _attempt(self) -> None:
        began, led = self._clock(), self.leads()
        try:
            async with asyncio.timeout(DURATION - DEADLINE):
                won = await self._acquire()
            self.has_answer = True
        except Conflict:
            won = False
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            _log.warning("the Lease could not be renewed: %s", error or type(error).__name__)
            return  # what we have lasts until its deadline
        self._leads_until = began + DEADLINE if won else float("-inf")
        if won:
            self._elected.set()
        if won != led:
            _log.info("this replica leads" if won else "another replica leads")

    async def _acquire(self) -> bool:
        path = LEASE.path(self._namespace, NAME)
        lease = await self._api.get(LEASE, self._namespace, NAME)
        if lease is None:
            await self._api.request("POST", LEASE.path(self._namespace), body=self._lease({}))
            return True
        if not self._may_take(lease):
            return False
        await self._api.request("PUT", path, body=self._lease(lease))
        return True

    def _may_take(self, lease: Manifest) -> bool:
        spec = lease.get("spec", {})
        state = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if state != self._seen[0]:
            self._seen = (state, self._clock())
        if spec.get("holderIdentity") in {self._identity, "", None}:
            return True
        return self._clock() - self._seen[1] > spec.get("leaseDurationSeconds", DURATION)

    def _lease(self, lease: Manifest, holder: str | None = None) -> Manifest:
        """The Lease as ours; the resourceVersion of the one that was read makes the write fail if it is not the newest."""
        before, now = lease.get("spec", {}), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        is_new = before.get("holderIdentity") != self._identity
        spec = {
            "holderIdentity": self._identity if holder is None else holder,
            "leaseDurationSeconds": int(DURATION),
            "renewTime": now,
            "acquireTime": now if is_new else before.get("acquireTime", now),
            "leaseTransitions": before.get("leaseTransitions", 0) + int(is_new),
        }
        metadata = lease.get("metadata", {"name": NAME, "namespace": self._namespace})
        return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": spec}

    async def _release(self) -> None:
        """Let another replica begin at once."""
        if not self.leads():
            return
        self._leads_until = float("-inf")
        try:
            async with asyncio.timeout(DURATION - DEADLINE):
                lease = await self._api.get(LEASE, self._namespace, NAME)
                if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
                    await self._api.request(
                        "PUT", LEASE.path(self._namespace, NAME), body=self._lease(lease, holder="")
                    )
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            _log.warning("the Lease could not be given back: %s", error or type(error).__name__)
