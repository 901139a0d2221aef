"""Live changes on their way into running pods."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from omega_operator.kinds import DEPLOYMENT, RESOURCE


async def test_a_live_change_reaches_the_pods_at_once(world: Any, stand_in: str) -> None:
    """Ten changes: each is reported by the pods within two seconds, and no pod is replaced or restarted."""
    await world.serve(stand_in, replicas=2)
    await world.until_condition("Ready", "True", "Ready", seconds=60)
    await world.until_condition("ConfigApplied", "True", "Applied")
    before = {(pod["metadata"]["uid"], _restarts(pod)) for pod in await world.pods()}
    times = []
    for size in range(500, 510):
        began = time.monotonic()
        changed = await world.patch(RESOURCE, "vl", {"spec": {"images": {"maxSize": size}}})
        await world.until(lambda: _is_applied(world, changed["metadata"]["generation"]), 5)  # noqa: B023
        times.append(time.monotonic() - began)
    assert max(times) < 2.0, times
    assert {(pod["metadata"]["uid"], _restarts(pod)) for pod in await world.pods()} == before
    status = (await world.get(RESOURCE, "vl"))["status"]
    assert status["config"]["appliedReplicas"] == 2


async def test_a_change_that_a_server_refuses(world: Any, stand_in: str) -> None:
    """The condition says which pod refuses it and why, the pods stay, and the next change ends it."""
    refuse = [{"name": "REFUSED_MAX_SIZE", "value": "666"}]
    await world.serve(stand_in, pod={"env": refuse})
    await world.until_condition("Ready", "True", "Ready", seconds=60)
    await world.patch(RESOURCE, "vl", {"spec": {"images": {"maxSize": 666}}})
    rejected = await world.until_condition("ConfigApplied", "False", "ConfigRejected", seconds=5)
    assert "this server does not take it" in rejected["message"]
    assert (await world.conditions())["Ready"]["status"] == "True"
    await world.patch(RESOURCE, "vl", {"spec": {"images": {"maxSize": 667}}})
    await world.until_condition("ConfigApplied", "True", "Applied", seconds=5)


async def test_serving_pods_are_quiet(world: Any, stand_in: str) -> None:
    """Neither resource nor Deployment nor pod is written while pods serve and nothing changes."""
    await world.serve(stand_in)
    await world.until_condition("ConfigApplied", "True", "Applied", seconds=60)
    await world.until_condition("Ready", "True", "Ready")
    await asyncio.sleep(3)
    before = await _versions(world)
    await asyncio.sleep(10)
    assert await _versions(world) == before


async def _is_applied(world: Any, generation: int) -> bool:
    found = (await world.conditions())["ConfigApplied"]
    return bool(found["observedGeneration"] == generation and found["status"] == "True")


async def _versions(world: Any) -> list[str]:
    found = [await world.get(RESOURCE, "vl"), await world.get(DEPLOYMENT, "vl"), *await world.pods()]
    return [one["metadata"]["resourceVersion"] for one in found]


def _restarts(pod: Any) -> int:
    return sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ()))
