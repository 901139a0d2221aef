"""Pods are replaced without a deadlock, whether there is room for one more or not."""

from __future__ import annotations

from typing import Any

from omega_operator.kinds import DEPLOYMENT, RESOURCE


async def test_room_for_a_surge(world: Any, stand_in: str) -> None:
    """With free GPUs the new pod is there before the old one goes."""
    await world.serve(stand_in, gpu={"count": 1})
    await world.until_condition("Ready", "True", "Ready", seconds=60)
    await _replace(world)
    update = (await world.get(DEPLOYMENT, "vl"))["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 1, "maxUnavailable": 0}


async def test_no_room_for_a_surge(world: Any, stand_in: str) -> None:
    """With all GPUs taken the old pod goes first, and is not reported as a failure meanwhile."""
    await world.serve(stand_in, gpu={"count": 8})
    await world.until_condition("Ready", "True", "Ready", seconds=60)
    await _replace(world)
    update = (await world.get(DEPLOYMENT, "vl"))["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 0, "maxUnavailable": 1}


async def _replace(world: Any) -> None:
    (old,) = await world.pods()
    await world.patch(RESOURCE, "vl", {"spec": {"model": {"name": "another"}}})

    async def is_replaced() -> bool:
        pods = [pod["metadata"]["uid"] for pod in await world.pods()]
        conditions = await world.conditions()
        assert conditions["Stalled"]["status"] == "False", conditions["Stalled"]
        return len(pods) == 1 and pods != [old["metadata"]["uid"]] and conditions["Ready"]["status"] == "True"

    await world.until(is_replaced, 90)
