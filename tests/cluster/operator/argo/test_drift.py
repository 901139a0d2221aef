"""What Argo CD takes for a difference from Git: the edits of people, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from omega_operator.api import NoAnswer
from omega_operator.kinds import DEPLOYMENT, RESOURCE, SERVICE, Kind, Manifest
from omega_operator.labels import NAME

ROOT = Path(__file__).resolve().parents[4]
MINUTES = float(os.environ.get("ARGO_MINUTES", "0.2"))
"""How long an autoscaler is watched at work."""

Write = Callable[..., Manifest]
Numbers = dict[str, list[tuple[float, int]]]
"""By resource: the numbers of replicas, each with the second since which it is so."""

MOST = 3
BOTH = pytest.mark.parametrize("way", ["client-side", "server-side"])


@BOTH
async def test_edits(way: str, deliver: Any, world: Any, resource: Write) -> None:
    """Argo CD sets back what somebody changes in the resource; what they change in a child is the operator's business."""
    delivery = await deliver(way, vl=resource())
    await delivery.until("Synced", "Healthy")
    before = len(delivery.application.moments)
    await world.patch(RESOURCE, "vl", {"spec": {"images": {"maxPerRequest": 9}}})
    await world.until(lambda: pictures(world, 4), 60)
    await delivery.until("Synced", "Healthy")
    assert "OutOfSync" in [one.sync for one in delivery.application.moments[before:]]

    before = len(delivery.application.moments)
    await world.patch(SERVICE, "vl", {"metadata": {"labels": {NAME: "another"}}})
    await world.until(lambda: is_labelled(world), 30)
    await delivery.stays()
    assert delivery.application.moments[before:] == []


@BOTH
async def test_scaling_by_hand(way: str, deliver: Any, world: Any, resource: Write) -> None:
    """Where Git has no number of replicas, whoever scales the Deployment or the resource owns it, and nothing is out of sync."""
    delivery = await deliver(way, vl=resource())
    await delivery.until("Synced", "Healthy")
    before = len(delivery.application.moments)
    for number in (3, 1):
        await scale(world, DEPLOYMENT, number)
        await world.until(lambda: serve(world, number), 120)  # noqa: B023
        await delivery.compare()
    assert delivery.application.moments[before:] == []
    for number in (2, 1):
        await scale(world, RESOURCE, number)
        await world.until(lambda: serve(world, number), 120)  # noqa: B023
        await delivery.compare()
    assert {one.sync for one in delivery.application.moments[before:]} <= {"Synced"}
    assert (await world.get(RESOURCE, "vl"))["spec"]["replicas"] == 1


@BOTH
async def test_examples(way: str, deliver: Any, world: Any) -> None:
    """Every example that we ship is Synced as it stands, whatever else may be missing in the cluster."""
    examples = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(ROOT.glob("demo/examples/*.yaml"))}
    assert len(examples) >= 3
    delivery = await deliver(way, **examples)

    def is_synced() -> bool:
        found = [one["status"] for one in delivery.resources().values() if one["kind"] == RESOURCE.name]
        return found == ["Synced"] * len(examples)

    await delivery.application.until(is_synced, "all are Synced")
    for one in examples.values():
        await world.until(lambda: is_judged(world, one["metadata"]["name"]), 30)  # noqa: B023
    before = len(delivery.application.moments)
    await delivery.compare()
    assert {one.sync for one in delivery.application.moments[before:]} <= {"Synced"}


@pytest.mark.timeout(MINUTES * 60 + 600)
async def test_an_autoscaler_at_work(deliver: Any, world: Any, resource: Write, tell: Any) -> None:
    """While an autoscaler changes the number of pods with the load, every Application is Synced and Healthy all the time."""
    autoscaling = {"scaler": "HPA", "minReplicas": 1, "maxReplicas": MOST, "requestsPerEngine": 16}
    ways = ("client-side", "server-side")
    deliveries = [await deliver(way, vl=resource(way, autoscaling=autoscaling)) for way in ways]
    for delivery in deliveries:
        await delivery.until("Synced", "Healthy")
    before = [len(delivery.application.moments) for delivery in deliveries]
    async with load(world, tell, ways) as numbers:
        await world.until(lambda: have_scaled(numbers), 240)
        await asyncio.sleep(MINUTES * 60)
    for way, number in numbers.items():
        told = ", ".join(f"{count} at {seconds:.0f} s" for seconds, count in number)
        print(f"\nreplicas of {way}: {told}")  # noqa: T201 - for pytest -s
        assert "replicas" not in (await world.get(RESOURCE, way))["spec"]
    for delivery, at in zip(deliveries, before, strict=True):
        assert [str(one) for one in delivery.application.moments[at:]] == []
        await delivery.stays()


@contextlib.asynccontextmanager
async def load(world: Any, tell: Any, names: Sequence[str]) -> AsyncIterator[Numbers]:
    """For each resource requests come until it has as many pods as it may, and go until it has one, again and again."""
    numbers: Numbers = {name: [] for name in names}
    working = asyncio.create_task(_come_and_go(world, tell, numbers))
    try:
        yield numbers
        assert not working.done(), "the load has ended by itself"
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


async def _come_and_go(world: Any, tell: Any, numbers: Numbers) -> None:
    began, busy = time.monotonic(), dict.fromkeys(numbers, True)
    while True:
        with contextlib.suppress(NoAnswer, OSError):  # a busy machine: the next round says it again
            for name, seen in numbers.items():
                number = (await world.get(DEPLOYMENT, name))["spec"]["replicas"]
                if not seen or seen[-1][1] != number:
                    seen.append((time.monotonic() - began, number))
                busy[name] = number < MOST if busy[name] else number == 1
            pods = [one for one in await world.pods() if one["status"]["phase"] == "Running"]
            owners = {one["metadata"]["name"]: one["metadata"]["labels"].get(NAME) for one in pods}
            await tell({pod: "40" if busy[owner] else "1" for pod, owner in owners.items() if owner in busy})
        await asyncio.sleep(1)


async def have_scaled(numbers: Numbers) -> bool:
    """Whether each autoscaler has changed its number."""
    return all(len(seen) > 1 for seen in numbers.values())


async def scale(world: Any, kind: Kind, number: int) -> None:
    """Write the scale subresource, as kubectl scale and an autoscaler do."""
    path = f"{kind.path(world.namespace, 'vl')}/scale"
    body = {"spec": {"replicas": number}}
    await world.api.request("PATCH", path, body=body, content_type="application/merge-patch+json")


async def serve(world: Any, number: int) -> bool:
    """Whether the resource counts so many pods that serve, and is settled."""
    return await world.is_settled() and (await world.get(RESOURCE, "vl"))["status"]["readyReplicas"] == number


async def pictures(world: Any, number: int) -> bool:
    """Whether the resource takes so many pictures in a request."""
    return bool((await world.get(RESOURCE, "vl"))["spec"]["images"]["maxPerRequest"] == number)


async def is_labelled(world: Any) -> bool:
    """Whether the Service says whose it is."""
    return bool((await world.get(SERVICE, "vl"))["metadata"]["labels"][NAME] == "vl")


async def is_judged(world: Any, name: str) -> bool:
    """Whether the operator has said something of a resource."""
    return "Ready" in await world.conditions(name)
