"""What the operator makes: it stays as it should be, and is gone when it should be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from faults.drift import vandalise
from omega_operator.api import ApiError
from omega_operator.kinds import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    JOB,
    NETWORK_POLICY,
    RESOURCE,
    SERVICE,
    SERVICE_ACCOUNT,
    VOLUME_CLAIM,
    Kind,
)
from omega_operator.labels import MANAGER

SIX = {
    (SERVICE_ACCOUNT, "vl"),
    (CONFIG_MAP, "vl-config"),
    (NETWORK_POLICY, "vl"),
    (DEPLOYMENT, "vl"),
    (SERVICE, "vl"),
}
REPAIR_SECONDS = 2.0


async def test_children_are_made_and_owned(world: Any) -> None:
    """Every child is there, owned by the resource, and applied by one field manager."""
    resource = await world.create()
    await world.until_condition("Ready", "True", "ScaledToZero")
    children = await world.children()
    assert set(children) == SIX
    for child in children.values():
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (resource["metadata"]["uid"], True)
        assert "blockOwnerDeletion" not in owner or owner["blockOwnerDeletion"] is False
        assert MANAGER in {entry["manager"] for entry in child["metadata"]["managedFields"]}


async def test_nothing_of_ours_in_the_resource(world: Any) -> None:
    """No finalizer, no annotation, no label, and of the managed fields only the status."""
    await world.create()
    await world.until_condition("Ready", "True", "ScaledToZero")
    head = (await world.get(RESOURCE, "vl"))["metadata"]
    assert not {"finalizers", "annotations", "labels"} & head.keys()
    assert [entry.get("subresource") for entry in head["managedFields"] if entry["manager"] == MANAGER] == ["status"]


async def test_many_at_once(world: Any) -> None:
    """Of many resources that come and change at once each gets its children, as it says, and then its status."""
    names = [f"vl{number}" for number in range(24)]
    await asyncio.gather(*(world.create(name) for name in names))
    change = {"spec": {"images": {"maxPerRequest": 3}}}
    await asyncio.gather(*(world.patch(RESOURCE, name, change) for name in names))
    for name in names:
        await world.until(lambda: world.is_settled(name), 60)  # noqa: B023
        settings = json.loads((await world.get(CONFIG_MAP, f"{name}-config"))["data"]["config.json"])
        assert settings["images"]["maxPerRequest"] == 3


async def test_a_deleted_child_comes_back(world: Any) -> None:
    """Each child is back within two seconds of its deletion."""
    await world.create(replicas=2, model={"source": "path:///model"}, pod={"nodeSelector": {"no": "node"}})
    await world.until(lambda: _exists(world, DISRUPTION_BUDGET, "vl"), 15)
    for kind, name in (*SIX, (DISRUPTION_BUDGET, "vl")):
        before = await world.get(kind, name)
        body = {"propagationPolicy": "Background"}
        await world.api.request("DELETE", kind.path(world.namespace, name), body=body)
        await world.until(lambda: _is_another(world, kind, name, before["metadata"]["uid"]), REPAIR_SECONDS)  # noqa: B023


async def test_every_owned_field_is_repaired(world: Any) -> None:
    """Each field that the operator owns is changed, and removed, by somebody else, and is back within two seconds."""
    await world.create(
        auth={"secretRef": {"name": "keys"}}, service={"annotations": {"a": "b"}}, rollout={"strategy": "Surge"}
    )
    await world.until_condition("Ready", "True", "ScaledToZero")
    children = list(await world.children())
    repairs = [one for kind, name in children for one in await vandalise(world, kind, name, REPAIR_SECONDS)]
    assert [one.what for one in repairs if one.seconds is None] == []
    assert len(repairs) >= 100, "so few fields can be changed that this test shows nothing"


async def test_fields_of_others_stay(world: Any) -> None:
    """Labels, annotations, containers and variables that somebody adds are none of the operator's business."""
    await world.create()
    await world.until_condition("Ready", "True", "ScaledToZero")
    sidecar = {"name": "sidecar", "image": "sidecar:1"}
    theirs = {
        "metadata": {"labels": {"theirs": "1"}, "annotations": {"theirs": "1"}},
        "spec": {"paused": True, "template": {"spec": {"containers": [sidecar]}}},
    }
    query, path = {"fieldManager": "somebody"}, DEPLOYMENT.path(world.namespace, "vl")
    body = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, **theirs}
    await world.api.request("PATCH", path, query=query, body=body, content_type="application/apply-patch+yaml")
    # Something of ours, so that the operator has certainly looked at the object again since.
    await world.patch(DEPLOYMENT, "vl", {"spec": {"progressDeadlineSeconds": 77}})
    await world.until(lambda: _has(world, DEPLOYMENT, "vl", ("spec", "progressDeadlineSeconds"), 7335), REPAIR_SECONDS)
    found = await world.get(DEPLOYMENT, "vl")
    assert found["metadata"]["labels"]["theirs"] == found["metadata"]["annotations"]["theirs"] == "1"
    assert found["spec"]["paused"] is True
    assert {one["name"] for one in found["spec"]["template"]["spec"]["containers"]} == {"server", "sidecar"}


async def test_a_field_that_is_no_longer_wanted_goes(world: Any) -> None:
    """What the resource stops asking for is taken away: fields, entries of lists, whole children."""
    await world.create(
        service={"annotations": {"a": "b"}}, pod={"nodeSelector": {"x": "y"}, "env": [{"name": "A", "value": "1"}]}
    )
    await world.until_condition("Ready", "True", "ScaledToZero")
    change = {"service": None, "pod": None, "networkPolicy": {"enabled": False}}
    await world.patch(RESOURCE, "vl", {"spec": change})

    async def is_gone() -> bool:
        service, deployment = await world.get(SERVICE, "vl"), await world.get(DEPLOYMENT, "vl")
        pod = deployment["spec"]["template"]["spec"]
        return (
            "annotations" not in service["metadata"]
            and "nodeSelector" not in pod
            and "A" not in {one["name"] for one in pod["containers"][0]["env"]}
            and not await _exists(world, NETWORK_POLICY, "vl")
        )

    await world.until(is_gone, 5)


async def test_quantities_in_other_words_are_no_drift(world: Any, operator: Any) -> None:
    """A quantity that the API server writes in its own way is not applied again and again."""
    await world.create(pod={"resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}}})
    await world.until_condition("Ready", "True", "ScaledToZero")
    await _is_quiet(world, seconds=3)


async def test_idle_writes_nothing(world: Any, operator: Any) -> None:
    """Nothing is written while nothing changes, nor by a new operator that finds all as it should be."""
    await world.create()
    await world.create("other", gpu={"count": 1}, service={"annotations": {"a": "b"}})
    for name in ("vl", "other"):
        await world.until_condition("Ready", "True", "ScaledToZero", name=name)
    await _is_quiet(world, seconds=8)
    before = await _versions(world)
    operator.stop()
    operator.start()
    await asyncio.sleep(5)
    assert await _versions(world) == before
    assert operator.resident <= 120 * 2**20


async def test_diff_of_the_applied_resource_is_empty(world: Any, kubectl: Callable[..., str]) -> None:
    """Kubectl diff, and so Argo CD, sees no difference between the file and the cluster."""
    body = {
        "apiVersion": RESOURCE.api_version,
        "kind": RESOURCE.name,
        "metadata": {"name": "vl", "namespace": world.namespace},
        "spec": {"replicas": 0, "model": {"source": "path:///model"}, "gpu": {"device": "cpu"}},
    }
    kubectl("apply", "--filename=-", stdin=json.dumps(body))
    await world.until_condition("Ready", "True", "ScaledToZero")
    assert kubectl("diff", "--filename=-", stdin=json.dumps(body)) == ""
    assert (
        kubectl(
            "diff", "--server-side", "--field-manager=kubectl-client-side-apply", "--filename=-", stdin=json.dumps(body)
        )
        == ""
    )


async def test_everything_goes_without_the_operator(world: Any, operator: Any) -> None:
    """The resource is deleted while no operator runs: it goes at once, and all its children with it."""
    await world.create()
    await world.until_condition("Ready", "True", "ScaledToZero")
    operator.stop()
    await world.api.request("DELETE", RESOURCE.path(world.namespace, "vl"))
    assert await world.api.get(RESOURCE, world.namespace, "vl") is None

    async def is_empty() -> bool:
        return not await world.children()

    await world.until(is_empty, 30)


async def test_replicas_belong_to_an_autoscaler(world: Any) -> None:
    """With spec.replicas missing the number that somebody sets stays; with it, it is repaired."""
    await world.create(replicas=None, pod={"nodeSelector": {"no": "node"}})
    await world.until(lambda: _has(world, DEPLOYMENT, "vl", ("spec", "replicas"), 1), 10)
    scale = {"spec": {"replicas": 3}}
    path = DEPLOYMENT.path(world.namespace, "vl") + "/scale"
    await world.api.request("PATCH", path, body=scale, content_type="application/merge-patch+json")
    await world.patch(DEPLOYMENT, "vl", {"spec": {"progressDeadlineSeconds": 77}})
    await world.until(lambda: _has(world, DEPLOYMENT, "vl", ("spec", "progressDeadlineSeconds"), 7335), REPAIR_SECONDS)
    assert (await world.get(DEPLOYMENT, "vl"))["spec"]["replicas"] == 3
    await world.patch(RESOURCE, "vl", {"spec": {"replicas": 2}})
    await world.until(lambda: _has(world, DEPLOYMENT, "vl", ("spec", "replicas"), 2), 5)
    await world.patch(RESOURCE, "vl", {"spec": {"replicas": None}})
    await asyncio.sleep(2)
    assert (await world.get(DEPLOYMENT, "vl"))["spec"]["replicas"] == 2


async def test_an_autoscaler_of_ours(world: Any) -> None:
    """The autoscaler finds the Deployment, what it scales to stays, and the number stays when the autoscaler goes."""
    await world.create(
        replicas=None,
        autoscaling={"scaler": "HPA", "minReplicas": 2, "maxReplicas": 4},
        pod={"nodeSelector": {"no": "node"}},
    )
    # Below minReplicas it scales at once, by the real controller, without asking for a metric.
    await world.until(lambda: _has(world, DEPLOYMENT, "vl", ("spec", "replicas"), 2), 60)

    async def is_able() -> bool:
        conditions = (await world.get(AUTOSCALER, "vl")).get("status", {}).get("conditions", ())
        return {one["type"]: one["status"] for one in conditions}.get("AbleToScale") == "True"

    await world.until(is_able, 60)
    await world.patch(AUTOSCALER, "vl", {"spec": {"maxReplicas": 9}})
    await world.until(lambda: _has(world, AUTOSCALER, "vl", ("spec", "maxReplicas"), 4), REPAIR_SECONDS)
    assert (await world.get(DEPLOYMENT, "vl"))["spec"]["replicas"] == 2
    await world.patch(RESOURCE, "vl", {"spec": {"autoscaling": None}})

    async def is_gone() -> bool:
        return (AUTOSCALER, "vl") not in await world.children()

    await world.until(is_gone, 5)
    await asyncio.sleep(2)
    assert (await world.get(DEPLOYMENT, "vl"))["spec"]["replicas"] == 2
    assert (await world.get(RESOURCE, "vl"))["spec"].get("replicas") is None


async def test_a_name_that_is_taken(world: Any) -> None:
    """An object of somebody else's is left alone, and the condition says what to do."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "vl"}, "spec": {"ports": [{"port": 1}]}}
    await world.api.request("POST", SERVICE.path(world.namespace), body=service)
    await world.create()
    stalled = await world.until_condition("Stalled", "True", "NameTaken")
    assert "Service vl" in stalled["message"]
    assert (await world.get(SERVICE, "vl"))["spec"]["ports"][0]["port"] == 1
    await world.api.request("DELETE", SERVICE.path(world.namespace, "vl"))
    await world.patch(RESOURCE, "vl", {"metadata": {"annotations": {"look": "again"}}})
    await world.until_condition("Ready", "True", "ScaledToZero")


async def test_a_model_from_the_hub(world: Any) -> None:
    """First the volume and the download; the Deployment only when the model is there."""
    await world.create(model={"source": "hf://Org/Model", "cache": {"size": "1Gi"}})
    cached = await world.until_condition("ModelCached", "False", "Downloading")
    assert "Org/Model@main" in cached["message"]
    children = await world.children()
    assert (VOLUME_CLAIM, "vl-cache") in children
    assert (DEPLOYMENT, "vl") not in children
    (job,) = [name for kind, name in children if kind == JOB]
    await world.until(lambda: _ends_well(world, job), 10)
    await world.until(lambda: _exists(world, DEPLOYMENT, "vl"), 5)
    await world.until_condition("ModelCached", "True", "Cached")


async def _ends_well(world: Any, name: str) -> bool:
    """Say that a download has ended well, which it cannot here: there is no Hub, and no volume.

    Returns whether the API server takes it; it does not while the Job's controller is in between.
    """
    began = (await world.get(JOB, name)).get("status", {}).get("startTime")
    if began is None:  # the Job's controller has not seen it; the time is nobody's to change after that
        return False
    done = [
        {"type": kind, "status": "True", "lastTransitionTime": began} for kind in ("SuccessCriteriaMet", "Complete")
    ]
    counts = {"succeeded": 1, "active": None, "ready": None}
    status = {"status": {"conditions": done, "completionTime": began, **counts}}
    path = JOB.path(world.namespace, name) + "/status"
    try:
        await world.api.request("PATCH", path, body=status, content_type="application/merge-patch+json")
    except ApiError:
        return False
    return True


async def _exists(world: Any, kind: Kind, name: str) -> bool:
    return await world.api.get(kind, world.namespace, name) is not None


async def _is_another(world: Any, kind: Kind, name: str, uid: str) -> bool:
    found = await world.api.get(kind, world.namespace, name)
    return found is not None and found["metadata"]["uid"] != uid


async def _versions(world: Any) -> dict[Any, str]:
    """The resource versions of all resources and children."""
    versions = {child: one["metadata"]["resourceVersion"] for child, one in (await world.children()).items()}
    for one in await world.api.list(RESOURCE, world.namespace):
        versions[RESOURCE, one["metadata"]["name"]] = one["metadata"]["resourceVersion"]
    return versions


async def _is_quiet(world: Any, seconds: float) -> None:
    await asyncio.sleep(2)  # what was still on its way
    before = await _versions(world)
    await asyncio.sleep(seconds)
    assert await _versions(world) == before


async def _has(world: Any, kind: Kind, name: str, path: tuple[str | int, ...], value: Any) -> bool:
    found: Any = await world.api.get(kind, world.namespace, name)
    try:
        for step in path:
            found = found[step]
    except (KeyError, IndexError, TypeError):
        return False
    return bool(found == value)
