"""Two replicas of the operator: one writes, the other takes over."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from omega_operator.kinds import LEASE
from operator_process import leads


async def test_takeover(api: Any, namespace: str, make_operator: Callable[[str], Any]) -> None:
    """A replica that ends hands over at once; one that is killed is replaced within the Lease's duration and a bit."""
    first, second = make_operator("first"), make_operator("second")
    first.start()
    second.start()
    await _until_holder(api, namespace, "first")
    assert [leads(one.text("/metrics")) for one in (first, second)] == [True, False]
    assert first.stop() == 0
    await _until_holder(api, namespace, "second", seconds=5)
    first.start()
    second.stop(signal.SIGKILL)
    await _until_holder(api, namespace, "first", seconds=20)


async def _until_holder(api: Any, namespace: str, name: str, seconds: float = 10) -> None:
    import asyncio

    async with asyncio.timeout(seconds):
        while True:
            lease = await api.get(LEASE, namespace, "omega-operator")
            if lease is not None and lease["spec"]["holderIdentity"] == name:
                return
            await asyncio.sleep(0.1)


async def test_probes(operator: Any) -> None:
    """A running operator says that it is healthy, ready and leading."""
    assert operator.text("/healthz") == "ok"
    assert operator.text("/readyz") == "ok"
