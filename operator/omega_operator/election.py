"""One replica of the operator writes at a time: it holds a Lease.

Our own, and not the one of the `kubernetes` package: that one goes by the wall clock, has no limit for a request that
hangs, and never gives the Lease back. Here a holder stops writing before anybody else may begin, by monotonic time, and
one that freezes is replaced within 15 seconds.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from omega_operator.api import Api, ApiError, Conflict, NotFound
from omega_operator.kinds import LEASE, Manifest

NAME = "omega-operator"
DURATION = 11.0
"""Seconds after the last renewal after which another replica takes over."""

DEADLINE = 7.0
"""Seconds after the last renewal after which the holder begins no more writes."""

MARGIN = DURATION - DEADLINE
"""Longest time for one write, in seconds: it ends before another replica takes over."""

PERIOD = 2.0
"""Seconds between two attempts to get or renew the Lease."""

AGAIN = 0.5
"""Seconds until the next attempt after one that failed, while this replica still leads."""

_log = logging.getLogger(__name__)


class Election:
    """This process as a candidate."""

    def __init__(
        self, api: Api, namespace: str, identity: str, clock: Callable[[], float], elected: Callable[[], None]
    ) -> None:
        """A candidate that does not lead yet.

        Args:
            api: the API server.
            namespace: where the Lease is.
            identity: our name, unique among the replicas.
            clock: monotonic, in seconds.
            elected: called when this process begins to lead.
        """
        self._api, self._namespace, self._identity, self._clock = api, namespace, identity, clock
        self._on_election = elected
        self._leads_until = float("-inf")
        self._seen: tuple[Any, float, float] = (None, DURATION, 0.0)
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
                delay = await self._attempt()
                await asyncio.sleep(delay)
        finally:
            await self._release()

    async def _attempt(self) -> float:
        """Returns after how many seconds to try again."""
        began, led = self._clock(), self.leads()
        try:
            won = await self._acquire()
        except ApiError as error:  # what we have lasts until its deadline
            self.has_answer = self.has_answer or isinstance(error, Conflict)
            _log.warning("the Lease could not be renewed: %s", error)
            return max(AGAIN if self.leads() else PERIOD, error.retry_after)
        self.has_answer = True
        self._leads_until = began + DEADLINE if won else float("-inf")
        if won and not led:
            self._on_election()
        if won:
            self._elected.set()
        if won != led:
            _log.info("this replica leads" if won else "another replica leads")
        return PERIOD if won else min(PERIOD, self._until_expiry())

    async def _acquire(self) -> bool:
        lease = await self._request("GET")
        if lease is None:
            path = LEASE.path(self._namespace)
            await self._api.request("POST", path, body=self._lease({}), timeout=MARGIN)
            return True
        if not self._may_take(lease):
            return False
        await self._request("PUT", self._lease(lease))
        return True

    async def _request(self, method: str, body: Manifest | None = None) -> Manifest | None:
        """Read or write the Lease; None if there is none."""
        path = LEASE.path(self._namespace, NAME)
        try:
            return await self._api.request(method, path, body=body, timeout=MARGIN)
        except NotFound:
            return None

    def _until_expiry(self) -> float:
        """Seconds until the holder that was seen last may be replaced, if it does not renew the Lease."""
        _, duration, since = self._seen
        return max(since + duration - self._clock(), AGAIN)

    def _may_take(self, lease: Manifest) -> bool:
        spec = lease.get("spec", {})
        state = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if state != self._seen[0]:
            self._seen = (state, spec.get("leaseDurationSeconds", DURATION), self._clock())
        if spec.get("holderIdentity") in {self._identity, "", None}:
            return True
        _, duration, since = self._seen
        return bool(self._clock() - since > duration)

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
            lease = await self._request("GET")
            if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
                await self._request("PUT", self._lease(lease, holder=""))
        except ApiError as error:
            _log.warning("the Lease could not be given back: %s", error)
