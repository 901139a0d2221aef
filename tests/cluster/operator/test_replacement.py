"""Pods are replaced without a deadlock, whether there is room for one more or not."""

from __future__ import annotations

from typing import Any

from omega_operator.kinds import DEPLOYMENT, POD, QUOTA, RESOURCE

SMALL = {"requests": {"cpu": "10m", "memory": "32Mi"}}
"""Requests of a pod that does nothing."""


async def test_room_for_a_surge(world: Any, stand_in: str) -> None:
    """With free GPUs the new pod is there before the old one goes."""
    await world.serve(stand_in, gpu={"count": 1})
    await world.until_condition("Ready", "True", "Ready", seconds=60)
    await _replace(world)
    update = (await world.get(DEPLOYMENT, "vl"))["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 1, "maxUnavailable": 0}


async def test_no_room_for_a_surge(world: Any, stand_in: str) -> None:
    """With all GPUs taken the old pod goes first, which is no failure; the new one starts when the old process has ended.

    Also right after the old pod itself got the GPUs of another: what was free before it came says nothing any more.
    """
    await _hold(world, stand_in, gpus=8)
    slow = [{"name": "STAY_SECONDS", "value": "4"}]
    await world.serve(stand_in, gpu={"count": 8}, pod={"env": slow, "resources": SMALL})
    await world.until_condition("Stalled", "True", "InsufficientGPU")
    await world.api.request("DELETE", POD.path(world.namespace, "holder"))
    await world.until_condition("Ready", "True", "Ready", seconds=60)
    said = await _replace(world)
    assert "Downtime" in said
    assert "RollingOut" not in said, "a new pod was started where there was no room"
    update = (await world.get(DEPLOYMENT, "vl"))["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 0, "maxUnavailable": 1}


async def test_a_quota_without_room_for_a_surge(world: Any, stand_in: str) -> None:
    """With the quota used up the old pod goes first, and the new one comes as soon as the quota has room."""
    hard = {"spec": {"hard": {"requests.nvidia.com/gpu": "1"}}}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}} | hard
    await world.api.request("POST", QUOTA.path(world.namespace), body=quota)
    slow = [{"name": "STAY_SECONDS", "value": "4"}]
    await world.serve(stand_in, gpu={"count": 1}, pod={"env": slow, "resources": SMALL})
    await world.until_condition("Ready", "True", "Ready", seconds=60)
    assert "Downtime" in await _replace(world)


async def test_nothing_stops_for_nothing(world: Any, stand_in: str) -> None:
    """Where no new pod could start, the old one serves on, and the reason is told."""
    await world.serve(stand_in, gpu={"count": 8})
    await world.until_condition("Ready", "True", "Ready", seconds=60)
    await world.patch(RESOURCE, "vl", {"spec": {"pod": {"nodeSelector": {"no": "node"}}}})
    await world.until_condition("Stalled", "True", "Unschedulable")
    assert [pod["metadata"].get("deletionTimestamp") for pod in await world.pods()] == [None, None]
    assert (await world.get(RESOURCE, "vl"))["status"]["readyReplicas"] == 1


async def _hold(world: Any, image: str, gpus: int) -> None:
    """Let a pod of somebody's have this many GPUs."""
    container = {"name": "holder", "image": image, "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    await world.api.request("POST", POD.path(world.namespace), body={"metadata": {"name": "holder"}, "spec": spec})

    async def runs() -> bool:
        return _runs(await world.get(POD, "holder"))

    await world.until(runs, 60)


async def _replace(world: Any) -> set[str]:
    """Change the template and wait until its pod serves; the reasons that Ready gave meanwhile."""
    (old,) = await world.pods()
    await world.patch(RESOURCE, "vl", {"spec": {"model": {"name": "another"}}})
    said = set()

    async def is_replaced() -> bool:
        pods = await world.pods()
        conditions = await world.conditions()
        said.add(conditions["Ready"]["reason"])
        assert conditions["Stalled"]["status"] == "False", conditions["Stalled"]
        new = [pod for pod in pods if pod["metadata"]["uid"] != old["metadata"]["uid"]]
        if conditions["Ready"]["reason"] == "Downtime":
            both = [pod for pod in pods if _runs(pod)]
            assert len(both) <= 1, "the new process began before the old one had ended"
        return len(pods) == len(new) == 1 and conditions["Ready"]["status"] == "True"

    await world.until(is_replaced, 90)
    return said


def _runs(pod: Any) -> bool:
    return any("running" in one.get("state", {}) for one in pod["status"].get("containerStatuses", ()))
