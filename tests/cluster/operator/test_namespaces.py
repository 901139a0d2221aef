"""Namespaces: one that is deleted is soon gone, and one name in two of them is two models."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.world import NAMESPACE
from omega_operator.kinds import CHILDREN, CONFIG_MAP, DEPLOYMENT, JOB, OPTIONAL, RESOURCE, SERVICE

GONE_SECONDS = 30
LONGEST = "a-name-of-forty-characters-and-not-one-4"
LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
"""A name that is good for everything: a Service, the host name of a pod, the value of a label."""


@pytest.fixture
def hub(kubectl: Callable[..., str], namespace: str, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A model from the hub, for one resource: there is a volume for it."""
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace},
        "spec": {
            "storageClassName": namespace,
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(tmp_path)},
        },
    }
    kubectl("create", "--filename=-", stdin=json.dumps(volume))
    yield {"source": "hf://Org/Model", "cache": {"size": "1Gi", "storageClassName": namespace}}
    kubectl("delete", "persistentvolume", namespace, "--wait=false")


async def test_a_namespace_goes_without_the_operator(
    world: Any, operator: Any, stand_in: str, hub: dict[str, Any]
) -> None:
    """With the operator gone a namespace ends within 30 s, with every kind of child and with pods that serve.

    They have nothing to finish. Kubernetes looks again after half the time only that pods may take for it: the short one
    of this test, not the two minutes that are the default.
    """
    await world.serve(stand_in, replicas=2, model=hub)
    await world.serve(stand_in, "scaled", replicas=None, autoscaling={"scaler": "HPA", "maxReplicas": 2})
    for name in ("vl", "scaled"):
        await world.until_condition("Ready", "True", "Ready", name=name, seconds=60)
    assert {kind for kind, _ in await world.children()} >= set(CHILDREN) - set(OPTIONAL)
    assert operator.stop() == 0
    await world.api.request("DELETE", NAMESPACE.path(None, world.namespace))

    async def is_gone() -> bool:
        return await world.api.get(NAMESPACE, None, world.namespace) is None

    await world.until(is_gone, GONE_SECONDS)


async def test_a_name_of_40_characters(world: Any, stand_in: str, hub: dict[str, Any]) -> None:
    """The longest name serves, and every name that is made from it is good for a label, also that of a download's pod."""
    assert len(LONGEST) == 40
    await world.serve(stand_in, LONGEST, replicas=2, model=hub)
    await world.until_condition("Ready", "True", "Ready", name=LONGEST, seconds=60)
    await world.until_condition("ConfigApplied", "True", "Applied", name=LONGEST)
    children, pods = await world.children(), await world.pods()
    assert {kind for kind, _ in children} >= {DEPLOYMENT, JOB}
    assert len(pods) == 3
    names = [*(name for _, name in children), *(pod["metadata"]["name"] for pod in pods)]
    assert [name for name in names if not LABEL.fullmatch(name)] == []


async def test_one_name_in_two_namespaces(two_worlds: tuple[Any, Any], stand_in: str) -> None:
    """Each has children and pods of its own; a live change of one, and its deletion, leave the other as it is."""
    here, there = two_worlds
    await asyncio.gather(*(world.serve(stand_in) for world in two_worlds))
    for world in two_worlds:
        await world.until_condition("Ready", "True", "Ready", seconds=60)
        await _limit(world, 500)
        owner = (await world.get(RESOURCE, "vl"))["metadata"]["uid"]
        assert {one["metadata"]["ownerReferences"][0]["uid"] for one in (await world.children()).values()} == {owner}
    before = await _state(there)
    await _limit(here, 501)
    await here.api.request("DELETE", RESOURCE.path(here.namespace, "vl"))
    await here.until(lambda: _is_empty(here), 30)
    assert await _state(there) == before
    await _limit(there, 502)
    assert (await _state(there))["pods"] == before["pods"]


async def _is_empty(world: Any) -> bool:
    return not await world.children() and not await world.pods()


async def _limit(world: Any, size: int) -> None:
    """Change a limit while the pods serve, and wait until they have it."""
    changed = await world.patch(RESOURCE, "vl", {"spec": {"images": {"maxSize": size}}})

    async def is_applied() -> bool:
        found = (await world.conditions())["ConfigApplied"]
        return bool(found["observedGeneration"] == changed["metadata"]["generation"] and found["status"] == "True")

    await world.until(is_applied, 10)


async def _state(world: Any) -> dict[str, Any]:
    """What would change if somebody touched the model: its wish, its pods, and what they are told."""
    resource, deployment, service, config = [
        await world.get(kind, name)
        for kind, name in ((RESOURCE, "vl"), (DEPLOYMENT, "vl"), (SERVICE, "vl"), (CONFIG_MAP, "vl-config"))
    ]
    return {
        "generations": (resource["metadata"]["generation"], deployment["metadata"]["generation"]),
        "config": config["data"],
        "children": {key: one["metadata"]["uid"] for key, one in (await world.children()).items()},
        "service": service["spec"],
        "pods": {(pod["metadata"]["uid"], _restarts(pod)) for pod in await world.pods()},
    }


def _restarts(pod: Any) -> int:
    return sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ()))
