"""The real HorizontalPodAutoscaler on a custom metrics API that a test fills: full clusters and lost figures do not swing it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from omega_operator.kinds import AUTOSCALER, DEPLOYMENT, RESOURCE
from omega_operator.ownership import owns_replicas

ALONE = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/os", "labelSelector": {"matchLabels": {"omegavlm.io/name": "vl"}}}
        ]
    }
}
"""One pod in the whole cluster: the others stay pending, as they do when no GPU is free."""

Tell = Callable[[dict[str, str]], Coroutine[Any, Any, None]]


async def test_full_clusters_and_lost_figures(world: Any, stand_in: str, tell: Tell) -> None:
    """A busy pod makes more pods wanted once; while these find no place, and while figures are missing, the number stays."""
    resources = {"requests": {"cpu": "10m", "memory": "32Mi"}}
    await world.serve(stand_in, replicas=2, pod={"affinity": ALONE, "resources": resources})
    await world.until(lambda: running(world), 180)
    (busy,) = await running(world)
    autoscaling = {"scaler": "HPA", "minReplicas": 2, "maxReplicas": 9, "requestsPerEngine": 16}
    await world.patch(RESOURCE, "vl", {"spec": {"replicas": None, "autoscaling": autoscaling}})
    # 40 for one engine are two and a half times too many; the pod that is pending counts as idle: 20 for each of two.
    await tell({busy: "40"})
    await world.until(lambda: wants(world, 3), 180)
    await stays(world, 3, 11)
    await tell({})
    await world.until(lambda: is_active(world, "False"), 120)
    await stays(world, 3, 7)
    await tell({busy: "40"})
    await world.until(lambda: is_active(world, "True"), 120)
    await stays(world, 3, 6)
    deployment = await world.get(DEPLOYMENT, "vl")
    assert not owns_replicas(deployment)
    assert "replicas" not in (await world.get(RESOURCE, "vl"))["spec"]


async def running(world: Any) -> list[str]:
    """The server's pods that run."""
    pods = [one for one in await world.pods() if one["metadata"]["name"] != "metrics"]
    return [one["metadata"]["name"] for one in pods if one["status"]["phase"] == "Running"]


async def wants(world: Any, number: int) -> bool:
    """Whether the Deployment has so many replicas."""
    return bool((await world.get(DEPLOYMENT, "vl"))["spec"]["replicas"] == number)


async def is_active(world: Any, status: str) -> bool:
    """Whether the autoscaler says that it can count, or cannot."""
    conditions = (await world.get(AUTOSCALER, "vl")).get("status", {}).get("conditions", ())
    return any((one["type"], one["status"]) == ("ScalingActive", status) for one in conditions)


async def stays(world: Any, number: int, seconds: float) -> None:
    """The number is the same at every moment of so many seconds."""
    for _ in range(int(seconds * 2)):
        assert await wants(world, number)
        await asyncio.sleep(0.5)
