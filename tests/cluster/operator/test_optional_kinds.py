"""Kinds of other projects, by their real definitions: they are used where they are there, and may come and go."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from omega_operator.kinds import (
    AUTOSCALER,
    HTTP_ROUTE,
    INFERENCE_POOL,
    OPTIONAL,
    POD_MONITOR,
    RESOURCE,
    SCALED_OBJECT,
    SERVICE,
    TRIGGER_AUTHENTICATION,
)

pytestmark = pytest.mark.alone

KEDA = {(SCALED_OBJECT, "auto"), (TRIGGER_AUTHENTICATION, "auto")}
OTHERS = {(POD_MONITOR, "vl"), (INFERENCE_POOL, "vl"), (HTTP_ROUTE, "vl")}


class Definitions:
    """Definitions of other projects, to add and to remove."""

    def __init__(self, directory: Path, kubectl: Callable[..., str]) -> None:
        self._directory, self._kubectl = directory, kubectl

    def present(self) -> str:
        """The names of those that the cluster has."""
        return self._kubectl("get", f"--filename={self._directory}", "--ignore-not-found", "--output=name")

    def add(self, group: str = "") -> None:
        """Add those of a group, or all."""
        for file in self._directory.glob(f"{group}*.yaml"):
            self._kubectl("apply", "--server-side", f"--filename={file}")

    def remove(self, group: str = "") -> None:
        """Remove those of a group, or all, with all objects of these kinds."""
        for file in self._directory.glob(f"{group}*.yaml"):
            self._kubectl("delete", f"--filename={file}", "--ignore-not-found")


@pytest.fixture
def definitions(tool: Callable[..., str], kubectl: Callable[..., str]) -> Iterator[Definitions]:
    """None at first, none at the end; one test at a time, because they are the whole cluster's.

    With time to spare: the API server takes up to a minute to let go of a definition.
    """
    directory = Path(tool("definitions"))
    with (directory.parent / "in-use").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        made = Definitions(directory, kubectl)
        if found := made.present():
            pytest.skip(f"the cluster has these already, and a test would take them away: {' '.join(found.split())}")
        yield made
        made.remove()  # the operator has ended before: a fixture that came later


async def test_kinds_that_come_and_go(definitions: Definitions, world: Any, operator: Any) -> None:
    """Children follow the definitions, are repaired like all others, and are no reason to write at a new start."""
    keys = {"secretRef": {"name": "keys"}}
    gateway = {"parentRefs": [{"name": "public"}], "endpointPicker": {"name": "picker"}}
    await world.create(monitoring={"podMonitor": True}, gateway=gateway, auth=keys)
    await world.create("auto", replicas=None, autoscaling={"maxReplicas": 4}, auth=keys)
    await world.until(lambda: misses(world, {"PodMonitor", "HTTPRoute", "InferencePool"}), 120)
    assert await optional(world) == set()
    assert (AUTOSCALER, "auto") in await world.children()

    definitions.add()
    await world.until(lambda: has(world, KEDA | OTHERS), 180)
    assert (AUTOSCALER, "auto") not in await world.children()
    await world.until(lambda: misses(world, set()), 60)
    (rule,) = (await world.get(HTTP_ROUTE, "vl"))["spec"]["rules"]
    assert rule["backendRefs"][0]["kind"] == "InferencePool"

    for kind, name, path in (
        (SCALED_OBJECT, "auto", "/spec/maxReplicaCount"),
        (INFERENCE_POOL, "vl", "/spec/targetPorts/0/number"),
        (HTTP_ROUTE, "vl", "/spec/rules/0/matches/0/path/value"),
        (POD_MONITOR, "vl", "/spec/podMetricsEndpoints/0/path"),
    ):
        before = (await world.get(kind, name))["spec"]
        other = 7 if path.endswith(("Count", "number")) else "/other"
        await world.patch(kind, name, [{"op": "replace", "path": path, "value": other}], "json")
        await world.until(lambda: is_like(world, kind, name, before), 60)  # noqa: B023

    quiet = await versions(world)
    operator.stop()
    operator.start()
    await world.patch(RESOURCE, "vl", {"spec": {"service": {"port": 81}}})  # something to have looked for
    await world.until(lambda: serves(world, 81), 60)
    assert await versions(world) == quiet

    definitions.remove("keda")
    await world.until(lambda: goes_on_with(world, operator, {(AUTOSCALER, "auto")}), 180)
    assert await optional(world) == OTHERS
    await world.patch(RESOURCE, "vl", {"spec": {"gateway": None, "monitoring": None}})
    await world.until(lambda: is_without(world), 60)
    definitions.remove()
    definitions.add("keda")
    await world.until(lambda: goes_on_with(world, operator, KEDA), 180)


async def test_an_inference_pool_that_is_not_there(definitions: Definitions, world: Any) -> None:
    """A route leads to the Service while the cluster knows no pools, and says what to install."""
    definitions.add("gateway")
    await world.create(gateway={"parentRefs": [{"name": "public"}], "endpointPicker": {"name": "picker"}})
    await world.until(lambda: has(world, {(HTTP_ROUTE, "vl")}), 180)
    (rule,) = (await world.get(HTTP_ROUTE, "vl"))["spec"]["rules"]
    assert (rule["backendRefs"][0]["kind"], rule["backendRefs"][0]["port"]) == ("Service", 80)
    await world.until(lambda: misses(world, {"InferencePool"}), 60)


async def optional(world: Any) -> set[Any]:
    """The children of optional kinds."""
    return {child for child in await world.children() if child[0] in OPTIONAL}


async def has(world: Any, wanted: set[Any]) -> bool:
    """Whether all these children are there."""
    return wanted <= set(await world.children())


async def goes_on_with(world: Any, operator: Any, wanted: set[Any]) -> bool:
    """Whether all these children are there; a kind that goes may end the operator, which the kubelet would start anew."""
    if operator.process.poll() is not None:
        operator.start()
    return await has(world, wanted)


async def is_without(world: Any) -> bool:
    """Whether there are no children of optional kinds."""
    return not await optional(world)


async def misses(world: Any, names: set[str]) -> bool:
    """Whether the status of vl says that these kinds are missing, and no others."""
    message = (await world.conditions()).get("Ready", {}).get("message", "")
    return {kind.name for kind in OPTIONAL if f"there is no {kind.name}," in message} == names


async def is_like(world: Any, kind: Any, name: str, spec: Any) -> bool:
    """Whether a child is as before."""
    return bool((await world.get(kind, name))["spec"] == spec)


async def versions(world: Any) -> dict[Any, str]:
    """The versions of the children of optional kinds."""
    return {
        child: one["metadata"]["resourceVersion"]
        for child, one in (await world.children()).items()
        if child[0] in OPTIONAL
    }


async def serves(world: Any, port: int) -> bool:
    """Whether the Service of vl has a port."""
    return bool((await world.get(SERVICE, "vl"))["spec"]["ports"][0]["port"] == port)
