"""Names and namespaces: long ones, equal ones, and ones that go away while no operator runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faults.replica import Replica
from faults.world import NAMESPACE, World, connect, namespace, until
from omega_operator.kinds import CONFIG_MAP, RESOURCE

LONGEST = "a" + "-long-name" * 3 + "-of-forty"
SECONDS = 60.0

Stage = tuple[Replica, World, World]


@pytest.fixture
async def stage(definition: None, kubeconfig: Path, tmp_path: Path) -> AsyncIterator[Stage]:
    """One operator that serves two namespaces."""
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(connect(kubeconfig))
        one, two = [await stack.enter_async_context(namespace(api)) for _ in range(2)]
        replica = Replica("operator", kubeconfig, (one.namespace, two.namespace), tmp_path)
        stack.callback(replica.kill)
        await replica.start()
        yield replica, one, two
        assert not replica.ended or replica.stopped, replica.log.read_text()
        assert "a defect of the operator" not in replica.log.read_text()


async def test_the_same_name_in_two_namespaces(stage: Stage) -> None:
    """Each has children of its own, and a change of one leaves the other alone."""
    _, one, two = stage
    for world in (one, two):
        await world.create("vl")
    for world in (one, two):
        await until(lambda: world.is_settled("vl"), SECONDS, "settled")  # noqa: B023
    before = await two.state("vl")
    assert await one.state("vl") == before
    await one.patch(RESOURCE, "vl", {"spec": {"images": {"maxSize": 333}}})
    await until(lambda: _says(one, "vl", "333"), SECONDS, "changed")
    assert await two.state("vl") == before


async def test_the_longest_name(stage: Stage) -> None:
    """A name of 40 characters gets every kind of child, and none is refused."""
    _, world, _ = stage
    assert len(LONGEST) == 40
    await world.create(
        LONGEST, replicas=None, autoscaling={"minReplicas": 2, "maxReplicas": 3}, pod={"nodeSelector": {"no": "node"}}
    )
    download = LONGEST[:-1] + "h"
    await world.create(download, model={"source": "hf://Org/Model", "cache": {"size": "1Gi"}})

    async def are_made() -> bool:
        kinds = {child["kind"] for child in await world.children(LONGEST)}
        cached = {child["kind"] for child in await world.children(download)}
        return {"Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"} <= kinds and {"Job"} <= cached

    await until(are_made, SECONDS, "all children are made")


async def test_made_again_under_its_name(stage: Stage) -> None:
    """Deleted and made again at once, several times: in the end it has children, all of them its own."""
    _, world, _ = stage
    for size in range(301, 306):
        await world.create("vl", images={"maxSize": size})
        if size % 2:
            await until(lambda: _says(world, "vl", str(size)), SECONDS, "made")  # noqa: B023
        if size < 305:
            await world.delete(RESOURCE, "vl")
    await until(lambda: world.is_settled("vl"), SECONDS, "settled")
    uid = (await world.api.get(RESOURCE, world.namespace, "vl") or {})["metadata"]["uid"]
    children = await world.children("vl")
    assert {owner["uid"] for child in children for owner in child["metadata"]["ownerReferences"]} == {uid}
    assert len(children) == 5


async def test_a_namespace_goes_without_the_operator(stage: Stage) -> None:
    """It is gone within half a minute, with all that was in it."""
    replica, world, _ = stage
    await world.create("vl")
    await world.create("cached", model={"source": "hf://Org/Model", "cache": {"size": "1Gi"}})
    await until(lambda: world.is_settled("vl"), SECONDS, "settled")
    await replica.stop()
    await world.api.request("DELETE", NAMESPACE.path(None, world.namespace))

    async def is_gone() -> bool:
        return await world.api.get(NAMESPACE, None, world.namespace) is None

    await until(is_gone, 30, "the namespace is gone")


async def _says(world: World, name: str, text: str) -> bool:
    found = await world.api.get(CONFIG_MAP, world.namespace, f"{name}-config")
    return found is not None and text in str(found["data"])
