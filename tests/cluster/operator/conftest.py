"""The operator as a process of this machine, against the cluster, in a namespace of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import operator_process
from faults.world import connect, is_settled
from omega_operator.api import Api
from omega_operator.kinds import CHILDREN, POD, RESOURCE, Kind, Manifest

API_SERVICE = Kind("apiregistration.k8s.io/v1", "APIService", "apiservices")
METRICS = "v1beta1.custom.metrics.k8s.io"

Tell = Callable[[dict[str, str]], Coroutine[Any, Any, None]]

SMALL = {"requests": {"cpu": "10m", "memory": "32Mi"}}
"""Requests of a pod that does nothing."""


@dataclass
class Operator:
    """One replica of the operator, which can be stopped and started."""

    environment: dict[str, str]
    log: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process = operator_process.launch(self.environment, self.log)
        for _ in range(300):
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=1),
            ):
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        pytest.fail(f"the operator did not become ready:\n{self.log.read_text()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(timeout=30)

    def text(self, path: str) -> str:
        """What it answers on a path."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    @property
    def resident(self) -> int:
        """Its memory, in bytes."""
        assert self.process is not None
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def make_operator(
    definition: None, kubeconfig: Path, namespace: str, tmp_path: Path
) -> Iterator[Callable[..., Operator]]:
    """Makes replicas of the operator for this namespace, and for others that are named; they end with the test."""
    made: list[Operator] = []

    def make(name: str, *others: str) -> Operator:
        port = operator_process.free_port()
        environment = operator_process.environment(
            name=name, kubeconfig=kubeconfig, namespaces=[namespace, *others], port=port, home=tmp_path
        )
        made.append(Operator(environment, tmp_path / f"{name}.log", port))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.returncode is None:
            assert one.process.poll() is None, f"the operator has ended by itself:\n{one.log.read_text()}"
            one.process.kill()
            one.process.wait()
        assert "a defect of the operator" not in one.log.read_text(), one.log.read_text()


@pytest.fixture
def operator(make_operator: Callable[[str], Operator]) -> Operator:
    """The operator, running."""
    one = make_operator("operator-0")
    one.start()
    return one


@pytest.fixture(scope="session")
def build_stand_in(
    cluster: Any, tool: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str]:
    """``build_stand_in(file) -> str``: builds an image that runs a file beside this one into the local cluster."""
    if os.environ.get("KUBECONFIG"):
        pytest.skip("images can be built into the local cluster only; unset KUBECONFIG")

    def build(file: str) -> str:
        code = (Path(__file__).parent / file).read_text()
        dockerfile = tmp_path_factory.mktemp("stand-in") / "Dockerfile"
        base = "ARG BASE_IMAGE=docker.io/library/python:3.13-slim-trixie\nFROM ${BASE_IMAGE}\n"
        dockerfile.write_text(base + f"ENTRYPOINT {json.dumps(['python3', '-c', code])}\n")
        name = f"localhost/omega-vlm/{Path(file).stem.replace('_', '-')}:1"
        tool("build-image", str(dockerfile), name)
        return name

    return build


@pytest.fixture(scope="session")
def stand_in(build_stand_in: Callable[[str], str]) -> str:
    """The image of the stand-in server."""
    return build_stand_in("stand_in_server.py")


@pytest.fixture
async def api(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """The Kubernetes API, as the administrator."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    async with connect(kubeconfig) as api:
        yield api


@dataclass(frozen=True)
class World:
    """One namespace, as the tests see it."""

    api: Api
    namespace: str

    async def create(self, name: str = "vl", **spec: Any) -> Manifest:
        """Create a resource; without fields it is one that no pod is needed for."""
        body = {
            "apiVersion": RESOURCE.api_version,
            "kind": RESOURCE.name,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"replicas": 0, "model": {"source": "path:///model"}, "gpu": {"device": "cpu"}} | spec,
        }
        return await self.api.request("POST", RESOURCE.path(self.namespace), body=body)

    async def serve(self, image: str, name: str = "vl", **spec: Any) -> Manifest:
        """Create a resource whose pods run an image, and let them end quickly."""
        quick = {"replicas": 1, "image": image, "rollout": {"drainSeconds": 1}, "pod": {"resources": SMALL}}
        return await self.create(name, **(quick | spec))

    async def pods(self) -> list[Manifest]:
        """All pods."""
        return await self.api.list(POD, self.namespace)

    async def patch(self, kind: Kind, name: str, body: Any, form: str = "merge", manager: str = "somebody") -> Manifest:
        """Patch an object as somebody else; form merge or json."""
        path, query = kind.path(self.namespace, name), {"fieldManager": manager}
        return await self.api.request(
            "PATCH", path, query=query, body=body, content_type=f"application/{form}-patch+json"
        )

    async def get(self, kind: Kind, name: str) -> Manifest:
        """One object, which must exist."""
        found = await self.api.get(kind, self.namespace, name)
        assert found is not None, f"there is no {kind.name} {name}"
        return found

    async def children(self) -> dict[tuple[Kind, str], Manifest]:
        """All children of all resources."""
        found = {}
        for kind in CHILDREN:
            with contextlib.suppress(Exception):  # a kind that the cluster does not know
                for one in await self.api.list(
                    kind, self.namespace, labelSelector="app.kubernetes.io/managed-by=omega-operator"
                ):
                    found[kind, one["metadata"]["name"]] = one
        return found

    async def conditions(self, name: str = "vl") -> dict[str, Manifest]:
        """The conditions of a resource by their type."""
        status = (await self.get(RESOURCE, name)).get("status", {})
        return {one["type"]: one for one in status.get("conditions", ())}

    async def is_settled(self, name: str = "vl") -> bool:
        """Whether the newest generation of a resource is ready."""
        return is_settled(await self.get(RESOURCE, name))

    async def until(self, holds: Callable[[], Awaitable[Any]], seconds: float) -> float:
        """Wait until something holds; returns the seconds it took and fails after as many as are given."""
        began = time.monotonic()
        while True:
            value = await holds()
            took = time.monotonic() - began
            if value:
                return took
            assert took < seconds, f"not so after {seconds} s"
            await asyncio.sleep(0.1)

    async def until_condition(
        self, kind: str, status: str, reason: str, *, name: str = "vl", seconds: float = 30
    ) -> Manifest:
        """Wait for a condition with this status and reason, and return it."""
        seen: dict[str, Manifest] = {}

        async def holds() -> bool:
            seen.update(await self.conditions(name))
            return (seen.get(kind, {}).get("status"), seen.get(kind, {}).get("reason")) == (status, reason)

        try:
            await self.until(holds, seconds)
        except AssertionError:
            pytest.fail(f"{kind} is not {status} {reason} after {seconds} s, but: {seen}")
        return seen[kind]


@pytest.fixture
def world(api: Api, namespace: str, operator: Operator) -> World:
    """The test's namespace, with the operator at work in it."""
    return World(api, namespace)


@pytest.fixture
def two_worlds(
    api: Api, namespace: str, make_namespace: Callable[[], str], make_operator: Callable[..., Operator]
) -> tuple[World, World]:
    """Two namespaces, with one operator at work in both."""
    other = make_namespace()
    make_operator("operator-0", other).start()
    return World(api, namespace), World(api, other)


@pytest.fixture
async def tell(world: World, stand_in: str, tmp_path: Path, kubectl: Callable[..., str]) -> AsyncIterator[Tell]:
    """Tells the custom metrics API the numbers that it says from now on, by the names of pods."""
    if await world.api.get(API_SERVICE, None, METRICS) is not None:
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
    body = {"kind": "APIService", "metadata": {"name": METRICS}, "spec": spec}
    try:
        await world.api.request("POST", API_SERVICE.path(), body=body)
        await world.until(lambda: _is_available(world), 120)
        address = (await world.get(POD, "metrics"))["status"]["podIP"]
        yield lambda numbers: asyncio.to_thread(_put, f"https://{address}:6443/set", numbers)
    finally:
        # Whatever happens: with this left behind no namespace of the cluster could be deleted.
        await asyncio.to_thread(kubectl, "delete", f"apiservice/{METRICS}", "--ignore-not-found")


def _put(address: str, numbers: dict[str, str]) -> None:
    """Tell the metrics API."""
    request = urllib.request.Request(address, json.dumps(numbers).encode(), method="PUT")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(request, timeout=60, context=context):
        return


async def _is_available(world: World) -> bool:
    """Whether the API server reaches the metrics API."""
    conditions = (await world.api.get(API_SERVICE, None, METRICS) or {}).get("status", {}).get("conditions", ())
    return any((one["type"], one["status"]) == ("Available", "True") for one in conditions)
