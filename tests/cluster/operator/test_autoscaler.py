"""The real HorizontalPodAutoscaler on a custom metrics API that a test fills: full clusters and lost figures do not swing it."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from omega_operator.kinds import AUTOSCALER, DEPLOYMENT, POD, RESOURCE, Kind
from omega_operator.ownership import owns_replicas

API_SERVICE = Kind("apiregistration.k8s.io/v1", "APIService", "apiservices")
NAME = "v1beta1.custom.metrics.k8s.io"
ALONE = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/os", "labelSelector": {"matchLabels": {"omegavlm.io/name": "vl"}}}
        ]
    }
}
"""One pod in the whole cluster: the others stay pending, as they do when no GPU is free."""

Tell = Callable[[dict[str, str]], Coroutine[Any, Any, None]]


@pytest.fixture
async def tell(world: Any, stand_in: str, tmp_path: Path, kubectl: Callable[..., str]) -> AsyncIterator[Tell]:
    """Tells the custom metrics API the numbers that it says from now on, by the names of pods."""
    if await world.api.get(API_SERVICE, None, NAME) is not None:
        pytest.skip("the cluster has a custom metrics API already")
    place = f"/api/v1/namespaces/{world.namespace}"
    make = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=metrics")
    files = ("-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "tls.crt"))
    subprocess.run([*make, *files], check=True, capture_output=True)
    data = {name: (tmp_path / name).read_text() for name in ("tls.key", "tls.crt")}
    data["code.py"] = (Path(__file__).parent / "metrics_api.py").read_text()
    await world.api.request("POST", f"{place}/configmaps", body={"metadata": {"name": "metrics"}, "data": data})
    container = {
        "name": "metrics",
        "image": stand_in,
        "command": ["python3", "/tls/code.py"],
        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
        "readinessProbe": {"tcpSocket": {"port": 6443}, "periodSeconds": 1},
    }
    pod = {
        "metadata": {"name": "metrics", "labels": {"app": "metrics"}},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "tls", "configMap": {"name": "metrics"}}],
            "terminationGracePeriodSeconds": 0,
        },
    }
    await world.api.request("POST", f"{place}/pods", body=pod)
    ports = [{"port": 443, "targetPort": 6443}]
    service = {"metadata": {"name": "metrics"}, "spec": {"selector": {"app": "metrics"}, "ports": ports}}
    await world.api.request("POST", f"{place}/services", body=service)
    spec = {
        "group": "custom.metrics.k8s.io",
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"name": "metrics", "namespace": world.namespace},
    }
    body = {"kind": "APIService", "metadata": {"name": NAME}, "spec": spec}
    try:
        await world.api.request("POST", API_SERVICE.path(), body=body)
        await world.until(lambda: is_available(world), 120)
        address = (await world.get(POD, "metrics"))["status"]["podIP"]
        yield lambda numbers: asyncio.to_thread(put, f"https://{address}:6443/set", numbers)
    finally:
        # Whatever happens: with this left behind no namespace of the cluster could be deleted.
        await asyncio.to_thread(kubectl, "delete", f"apiservice/{NAME}", "--ignore-not-found")


async def test_full_clusters_and_lost_figures(world: Any, stand_in: str, tell: Tell) -> None:
    """A busy pod makes more pods wanted once; while these find no place, and while figures are missing, the number stays."""
    await world.serve(
        stand_in,
        replicas=None,
        autoscaling={"scaler": "HPA", "minReplicas": 2, "maxReplicas": 9, "requestsPerEngine": 16},
        pod={"affinity": ALONE, "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}}},
    )
    await world.until(lambda: running(world), 180)
    (busy,) = await running(world)
    # 40 for one engine are two and a half times too many; the pod that is pending counts as idle: 20 for each of two.
    await tell({busy: "40"})
    await world.until(lambda: wants(world, 3), 180)
    await stays(world, 3, 35)
    await tell({})
    await world.until(lambda: is_active(world, "False"), 120)
    await stays(world, 3, 20)
    await tell({busy: "40"})
    await world.until(lambda: is_active(world, "True"), 120)
    await stays(world, 3, 5)
    deployment = await world.get(DEPLOYMENT, "vl")
    assert not owns_replicas(deployment)
    assert "replicas" not in (await world.get(RESOURCE, "vl"))["spec"]


def put(address: str, numbers: dict[str, str]) -> None:
    """Tell the metrics API."""
    request = urllib.request.Request(address, json.dumps(numbers).encode(), method="PUT")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(request, timeout=60, context=context):
        return


async def is_available(world: Any) -> bool:
    """Whether the API server reaches the metrics API."""
    conditions = (await world.api.get(API_SERVICE, None, NAME)).get("status", {}).get("conditions", ())
    return any((one["type"], one["status"]) == ("Available", "True") for one in conditions)


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
