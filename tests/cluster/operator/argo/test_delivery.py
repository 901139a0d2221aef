"""From a commit to pods that serve, and what Argo CD says on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from omega_operator.kinds import RESOURCE, Manifest

Write = Callable[..., Manifest]
OURS = (RESOURCE.name, "vl")


@pytest.mark.parametrize("way", ["client-side", "server-side", "replace"])
async def test_commits(way: str, deliver: Any, world: Any, resource: Write) -> None:
    """A commit is Synced and, once its pods serve, Healthy; so is the next one, in the same resource, and both stay so."""
    delivery = await deliver(way, vl=resource())
    await delivery.until("Synced", "Healthy")
    first = await current(world)
    assert set(delivery.resources()) == {OURS}, "Argo CD takes children for objects of Git"
    await delivery.stays()

    await delivery.commit(vl=resource(images={"maxPerRequest": 3, "maxBytes": "5Mi"}))
    await delivery.until("Synced", "Healthy")
    second = await current(world)
    assert second["spec"]["images"]["maxPerRequest"] == 3
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert second["metadata"]["generation"] == first["metadata"]["generation"] + 1
    await delivery.stays()


async def test_another_model(deliver: Any, world: Any, resource: Write) -> None:
    """A commit that replaces pods is Progressing until they are replaced, and never Healthy by what was true before."""
    delivery = await deliver("client-side", vl=resource())
    await delivery.until("Synced", "Healthy")
    await delivery.commit(vl=resource(model={"source": "path:///model", "name": "another"}))
    await delivery.until("Synced", "Healthy")
    await current(world)
    said = [one.health for one in delivery.application.moments if one.revision == delivery.revision]
    assert said[-2:] == ["Progressing", "Healthy"]


async def test_removal(deliver: Any, world: Any, resource: Write) -> None:
    """A resource that Git no longer has is pruned and takes its children along; its neighbour notices nothing."""
    delivery = await deliver("client-side", vl=resource(), other=resource("other"))
    await delivery.until("Synced", "Healthy")
    neighbour = await world.get(RESOURCE, "other")
    await delivery.commit(vl=None)
    await delivery.until("Synced", "Healthy")
    assert await world.api.get(RESOURCE, world.namespace, "vl") is None

    async def children() -> set[str]:
        return {one["metadata"]["labels"]["omegavlm.io/name"] for one in (await world.children()).values()}

    async def is_alone() -> bool:
        return await children() == {"other"}

    await world.until(is_alone, 60)
    assert await world.get(RESOURCE, "other") == neighbour
    assert set(delivery.resources()) == {(RESOURCE.name, "other")}


async def test_stalled(deliver: Any, world: Any, resource: Write) -> None:
    """A stalled resource is Degraded with the operator's words, and Healthy by itself when the cause is gone."""
    delivery = await deliver("client-side", vl=resource(auth={"secretRef": {"name": "keys"}}))
    await delivery.until("Synced", "Degraded")
    stalled = (await world.conditions())["Stalled"]
    assert delivery.resources()[OURS]["health"] == {
        "status": "Degraded",
        "message": f"SecretMissing: {stalled['message']}",
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"me": "key"}}
    await world.api.request("POST", f"/api/v1/namespaces/{world.namespace}/secrets", body=secret)
    await delivery.until("Synced", "Healthy")


async def current(world: Any) -> Manifest:
    """The resource, which is ready in its newest generation."""
    found: Manifest = await world.get(RESOURCE, "vl")
    (ready,) = (one for one in found["status"]["conditions"] if one["type"] == "Ready")
    assert (ready["status"], ready["observedGeneration"]) == ("True", found["metadata"]["generation"])
    return found
