"""What people are told when something stands in the way, and that it goes away with its cause."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from omega_operator.api import Refused
from omega_operator.kinds import EVENT, RESOURCE, TRANSITION
from omega_operator.kube import Kube
from operator_process import metric


async def test_no_secret(world: Any, stand_in: str) -> None:
    """A missing Secret is named; once it is there the pods start by themselves."""
    await world.serve(stand_in, auth={"secretRef": {"name": "keys"}})
    stalled = await world.until_condition("Stalled", "True", "SecretMissing")
    assert "no Secret keys" in stalled["message"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"me": "key"}}
    await world.api.request("POST", f"/api/v1/namespaces/{world.namespace}/secrets", body=secret)
    await world.until_condition("Ready", "True", "Ready", seconds=150)
    assert (await world.conditions())["Stalled"]["status"] == "False"


async def test_no_claim(world: Any, stand_in: str) -> None:
    """A missing PersistentVolumeClaim is named."""
    await world.serve(stand_in, model={"source": "pvc://weights/omega"})
    stalled = await world.until_condition("Stalled", "True", "PVCMissing")
    assert "PersistentVolumeClaim weights" in stalled["message"]


async def test_no_image(world: Any) -> None:
    """An image that cannot be pulled is named, in the kubelet's words."""
    await world.serve("localhost/omega-vlm/there-is-none:1", pod={"imagePullPolicy": "Never"})
    stalled = await world.until_condition("Stalled", "True", "ImagePullFailed")
    assert "there-is-none" in stalled["message"]


async def test_too_few_gpus(world: Any, stand_in: str) -> None:
    """The shortage is told in numbers: what a pod needs, and what the largest node has free."""
    await world.serve(stand_in, "first", gpu={"count": 5})
    await world.until_condition("Ready", "True", "Ready", name="first", seconds=60)
    await world.serve(stand_in, "second", gpu={"count": 4})
    stalled = await world.until_condition("Stalled", "True", "InsufficientGPU", name="second")
    assert "needs 4 nvidia.com/gpu in one node; the largest node has" in stalled["message"]
    assert "free" in stalled["message"]


async def test_more_gpus_than_any_node_has(world: Any, stand_in: str) -> None:
    """A kind of GPU that no node has is told as such."""
    await world.serve(stand_in, gpu={"count": 2, "resourceName": "example.com/gpu"})
    stalled = await world.until_condition("Stalled", "True", "InsufficientGPU")
    assert "needs 2 example.com/gpu in one node; the largest node has 0" in stalled["message"]


async def test_a_server_that_ends(world: Any, stand_in: str, kubectl: Callable[..., str]) -> None:
    """The server's own last words are told, in the condition and in an Event, and once each."""
    words = "there is no model in /models/nowhere"
    await world.serve(stand_in, pod={"env": [{"name": "END_WITH", "value": words}]})
    stalled = await world.until_condition("Stalled", "True", "ServerFailed")
    assert words in stalled["message"]

    async def told() -> list[tuple[str, str, str]]:
        events = await world.api.list(TRANSITION, world.namespace)
        ours = [one for one in events if one.get("reportingController") == "omegavlm.io/operator"]
        return [(one["type"], one["reason"], one["regarding"]["name"]) for one in ours]

    # The Event follows the status that it is about.
    await world.until(told, 10)
    assert await told() == [("Warning", "ServerFailed", "vl")]
    assert words in kubectl("describe", "ovlm", "vl", "--namespace", world.namespace)


async def test_a_warning_that_came_once(api: Any, namespace: str) -> None:
    """A kubelet's first failures may be over with the next try: only what keeps coming is told as a cause."""
    pod = {"metadata": {"name": "p", "namespace": namespace, "uid": "7"}}
    kube = Kube(api, lambda: True, (namespace,), time.monotonic, wrote=lambda *_: None, remember=lambda *_: None)
    for name, times in (("once", 1), ("lasting", 3)):
        event = {
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {"kind": "Pod", **pod["metadata"]},
            "type": "Warning",
            "reason": "FailedMount",
            "message": f"MountVolume.SetUp failed: {name}",
            "count": times,
        }
        await api.request("POST", EVENT.path(namespace), body=event)
    assert await kube.warnings(namespace, pod) == ("MountVolume.SetUp failed: lasting",)


async def test_quota(world: Any, stand_in: str) -> None:
    """A quota that is used up is told in the API server's words."""
    hard = {"spec": {"hard": {"requests.nvidia.com/gpu": "1"}}}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}} | hard
    await world.api.request("POST", f"/api/v1/namespaces/{world.namespace}/resourcequotas", body=quota)
    await world.serve(stand_in, gpu={"count": 2})
    stalled = await world.until_condition("Stalled", "True", "QuotaExceeded")
    assert "few" in stalled["message"]


async def test_what_this_release_cannot_do(world: Any) -> None:
    """Refused by name, and nothing is made for it."""
    model = {"source": "path:///model", "quantization": "int8"}
    await world.create(gpu={"count": 4, "tensorParallel": 2}, model=model)
    stalled = await world.until_condition("Stalled", "True", "Unsupported")
    assert "spec.gpu.tensorParallel" in stalled["message"]
    assert await world.children() == {}
    await world.patch(RESOURCE, "vl", {"spec": {"model": {"quantization": "none"}}})
    await world.until_condition("Ready", "True", "ScaledToZero")


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        ({"affinity": {"junk": 1}}, "affinity.junk"),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "nope"}}}]}, "nope"),
    ],
    ids=["unknown field", "wrong value"],
)
async def test_what_the_api_server_refuses(world: Any, operator: Any, pod: dict[str, Any], words: str) -> None:
    """A passed-through field that makes no sense is told in the API server's words, and not tried again and again."""
    await world.create(pod=pod)
    stalled = await world.until_condition("Stalled", "True", "Refused")
    assert words in stalled["message"]
    await asyncio.sleep(3)  # what follows from the children that were made
    tries = reconciles(operator)
    await asyncio.sleep(5)
    assert reconciles(operator) - tries <= 1
    await world.patch(RESOURCE, "vl", {"spec": {"pod": None}})
    await world.until_condition("Ready", "True", "ScaledToZero")


def reconciles(operator: Any) -> float:
    """How often the operator has looked at a resource."""
    return metric(operator.text("/metrics"), "omega_operator_reconcile_total") or 0


async def test_a_change_that_is_refused_at_admission(world: Any, kubectl: Callable[..., str]) -> None:
    """What the CRD refuses never reaches the operator: the old configuration stays applied."""
    await world.create()
    await world.until_condition("Ready", "True", "ScaledToZero")
    before = (await world.get(RESOURCE, "vl"))["status"]["config"]["desired"]
    patch = json.dumps({"spec": {"images": {"maxSize": -1}}})
    with pytest.raises(pytest.fail.Exception, match=r"images\.maxSize"):
        kubectl("patch", "ovlm", "vl", "--namespace", world.namespace, "--type=merge", f"--patch={patch}")
    assert (await world.get(RESOURCE, "vl"))["status"]["config"]["desired"] == before


async def test_a_resource_that_an_older_crd_let_in(world: Any, operator: Any, loose_definition: None) -> None:
    """A resource that cannot be read is stalled with the field's name, is left alone, and recovers when corrected."""
    await world.create(gpu={"device": "cpu", "count": "many"})
    stalled = await world.until_condition("Stalled", "True", "InvalidSpec")
    assert "spec.gpu.count" in stalled["message"]
    assert await world.children() == {}
    await world.patch(RESOURCE, "vl", {"spec": {"gpu": {"count": 1}}})
    await world.until_condition("Ready", "True", "ScaledToZero")


@pytest.fixture
async def loose_definition(api: Any, namespace: str, definition: None) -> AsyncIterator[None]:
    """The CRD without its schema, for one test."""
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{RESOURCE.plural}.{RESOURCE.group}"
    place = "/spec/versions/0/schema/openAPIV3Schema"
    strict = (await api.request("GET", path))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    loose = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

    async def become(schema: Any, *, takes: bool) -> None:
        patch = [{"op": "replace", "path": place, "value": schema}]
        await api.request("PATCH", path, body=patch, content_type="application/json-patch+json")
        for _ in range(100):
            if await _takes_anything(api, namespace) is takes:
                return
            await asyncio.sleep(0.2)
        pytest.fail("the API server does not go by the changed definition")

    await become(loose, takes=True)
    yield
    await become(strict, takes=False)


async def _takes_anything(api: Any, namespace: str) -> bool:
    """Whether the API server takes a resource that makes no sense; it is not stored."""
    head = {"name": "probe", "namespace": namespace}
    body = {"apiVersion": RESOURCE.api_version, "kind": RESOURCE.name, "metadata": head, "spec": {"model": 1}}
    try:
        await api.request("POST", RESOURCE.path(namespace), query={"dryRun": "All"}, body=body)
    except Refused:
        return False
    return True
