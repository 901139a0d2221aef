"""A model's way from a hub to the pods of a real kubelet: one download, killed and silenced, and its end with the resource.

The hub is a process of this machine that pods reach by the host's address; the volume is a directory of this machine; the
image is the real server's, which has the download in it.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[0:0] = [str(ROOT / "demo"), str(ROOT / "tools")]

from cluster.places import HOST_ADDRESS  # noqa: E402
from hub import Hub  # noqa: E402
from omega_operator import labels, pod  # noqa: E402
from omega_operator.desired import names, security  # noqa: E402
from omega_operator.desired.model_source import directory  # noqa: E402
from omega_operator.kinds import JOB, RESOURCE, VOLUME_CLAIM, Manifest  # noqa: E402
from omega_schema.source import HubSource  # noqa: E402
from stages import images  # noqa: E402

SOURCE = HubSource("org/model", "main")
MIB = 2**20
MOST_TWICE = 0.05
"""Share of a model that may be sent twice."""

VOLUME = """\
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteMany]
  storageClassName: {name}
  claimRef: {{apiVersion: v1, kind: PersistentVolumeClaim, name: {claim}, namespace: {name}}}
  hostPath: {{path: {path}}}
"""


@pytest.fixture(scope="session")
def server(cluster: Any, tool: Callable[..., str]) -> str:
    """The server's image, under the name that the demo gives it."""
    if os.environ.get("KUBECONFIG"):
        pytest.skip("images can be built into the local cluster only; unset KUBECONFIG")
    name = images.SERVER.reference("localhost")
    tool("build-image", str(ROOT / images.SERVER.dockerfile), name)
    return name


@pytest.fixture
def volume(kubectl: Callable[..., str], namespace: str, tmp_path: Path) -> Iterator[Path]:
    """The volume of the test's resource, as a directory; its storage class has the namespace's name."""
    path = tmp_path / "volume"
    path.mkdir()
    os.chown(path, security.USER, security.USER)  # a hostPath does not get the pod's fsGroup
    claim = names.cache("vl").name
    kubectl("create", "--filename=-", stdin=VOLUME.format(name=namespace, claim=claim, path=path))
    yield path
    kubectl("delete", "persistentvolume", namespace, "--wait=false")


@dataclass
class Download:
    """A resource whose model is at a hub, as the test sees it."""

    world: Any
    hub: Hub
    volume: Path
    image: str

    @property
    def files(self) -> dict[str, bytes]:
        """The model."""
        return dict(self.hub.repos[SOURCE.repo])

    async def begin(self, endpoint: str, **spec: Any) -> None:
        """Create the resource."""
        cache = {"size": "1Gi", "storageClassName": self.world.namespace}
        model = {
            "source": f"hf://{SOURCE.repo}@{SOURCE.revision}",
            "cache": cache,
            "maxLength": 2048,
            "dtype": "float32",
        }
        resources = {"requests": {"cpu": "100m", "memory": "1Gi"}}
        variables = [{"name": "HF_ENDPOINT", "value": endpoint}]
        given = {"model": model, "replicas": 0, "pod": {"env": variables, "resources": resources}}
        await self.world.serve(self.image, **(given | spec))

    async def until_cached(self, seconds: float) -> None:
        """Wait until the status says that the model is there; then it is right, and little of it was sent twice."""
        await self.world.until_condition("ModelCached", "True", "Cached", seconds=seconds)
        found = self.volume / directory(SOURCE)
        assert {name: (found / name).read_bytes() for name in self.files} == self.files
        size = sum(map(len, self.files.values()))
        assert size <= self.hub.sent.total() <= size * (1 + MOST_TWICE)

    async def until_told(self, pattern: str, seconds: float) -> None:
        """Wait for words in ModelCached while it is False."""
        seen = {}

        async def holds() -> bool:
            seen.update((await self.world.conditions()).get("ModelCached", {}))
            return seen.get("status") == "False" and re.search(pattern, seen["message"]) is not None

        try:
            await self.world.until(holds, seconds)
        except AssertionError:
            pytest.fail(f"ModelCached does not tell {pattern} after {seconds} s, but: {seen}")

    async def job(self) -> str:
        """The uid of the Job."""
        found = await self.world.get(JOB, names.download("vl", SOURCE).name)
        return str(found["metadata"]["uid"])

    async def pods(self, component: str) -> list[Manifest]:
        """Those of one component that have not ended and are not to."""
        mine = [one for one in await self.world.pods() if one["metadata"]["labels"][labels.COMPONENT] == component]
        return [one for one in mine if not pod.is_terminating(one) and not _has_ended(one)]


@pytest.fixture
def download(world: Any, volume: Path, server: str) -> Callable[..., Download]:
    """``download(files, **fields) -> Download``: from a hub with these files and faults."""
    return lambda files, **faults: Download(world, Hub({SOURCE.repo: files}, **faults), volume, server)


async def test_one_download_for_all_replicas(download: Callable[..., Download], kubectl: Callable[..., str]) -> None:
    """Three servers load the one copy, whose progress was told; the claim goes with the resource, after the last pod."""
    files = {file.name: file.read_bytes() for file in (ROOT / "demo/model").iterdir()}
    one = download(files, rate=250_000)
    with one.hub.served(str(HOST_ADDRESS)) as endpoint:
        await one.begin(endpoint, replicas=3)
        await one.until_told(r"^org/model@main: [0-3]\.\d of 3\.\d MiB \(\d+ %\), .* [KM]iB/s, \d+ s left$", 60)
        assert await one.pods(labels.SERVER) == []
        await one.until_cached(60)
        await one.world.until_condition("Ready", "True", "Ready", seconds=240)
        assert one.hub.sent.total() == sum(map(len, files.values()))
    status = (await one.world.get(RESOURCE, "vl"))["status"]
    assert status["ready"] == "3/3"
    assert [_claims(each) for each in await one.pods(labels.SERVER)] == [{"vl-cache"}] * 3

    await one.world.api.request("DELETE", RESOURCE.path(one.world.namespace, "vl"))

    async def is_gone() -> bool:
        if await one.world.api.get(VOLUME_CLAIM, one.world.namespace, "vl-cache") is not None:
            return False
        assert [pod.name(each) for each in await one.world.pods() if not _has_ended(each)] == []
        return True

    await one.world.until(is_gone, 90)
    phase = kubectl("get", "persistentvolume", one.world.namespace, "--output=jsonpath={.status.phase}")
    assert phase == "Released"


async def test_killed_downloads(download: Callable[..., Download], kubectl: Callable[..., str]) -> None:
    """A download whose process or pod is killed at random moments goes on where it was, in the same Job."""
    dice = random.Random(1)
    weights = {f"model-{index}.safetensors": dice.randbytes(10 * MIB) for index in range(3)}
    one = download({"config.json": b"{}"} | weights, rate=0.6 * MIB)
    points = sorted(dice.randrange(2 * MIB, 28 * MIB) for _ in range(3))
    killed: set[int] = set()
    with one.hub.served(str(HOST_ADDRESS)) as endpoint:
        await one.begin(endpoint)
        await one.until_told("org/model@main", 30)
        job = await one.job()
        for count, point in enumerate(points):
            name, process = await _running(one, point, killed)
            killed.add(process)
            if count % 2:
                flags = ("--namespace", one.world.namespace, "--grace-period=0", "--force", "--wait=false")
                kubectl("delete", "pod", name, *flags)
                await one.until_told("was lost; its Job makes another one", 30)
            else:
                os.kill(process, signal.SIGKILL)
        await one.until_cached(120)
    assert len(killed) == len(points)
    assert await one.job() == job


async def test_a_hub_that_falls_silent(download: Callable[..., Download]) -> None:
    """Silence is told within a minute of the last byte, and the download goes on when the hub speaks again."""
    half = 4 * MIB
    weights = random.Random(1).randbytes(2 * half)
    silences = [half] + [0] * 100
    one = download({"config.json": b"{}", "model.safetensors": weights}, rate=2 * MIB, silences=silences)
    with one.hub.served(str(HOST_ADDRESS)) as endpoint:
        await one.begin(endpoint)
        await one.world.until(lambda: _has_sent(one.hub, half), 60)
        await one.until_told(r"4\.0 of 8\.0 MiB \(50 %\), nothing has come for \d+ s: the hub sends nothing", 60)
        assert (await one.world.conditions())["ModelCached"]["reason"] == "NoProgress"
        one.hub.silences.clear()
        one.hub.awake.set()
        await one.until_cached(60)


def _has_ended(one: Manifest) -> bool:
    """Whether a pod uses its volumes no longer."""
    return one["status"]["phase"] in {"Succeeded", "Failed"}


def _claims(one: Manifest) -> set[str]:
    """Claims that a pod mounts."""
    volumes = one["spec"]["volumes"]
    return {each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each}


async def _has_sent(hub: Hub, count: int) -> bool:
    return hub.sent.total() >= count


async def _running(one: Download, point: int, killed: set[int]) -> tuple[str, int]:
    """Wait until so much was sent and a process downloads that was not killed yet; returns its pod's name, and itself."""
    found: list[tuple[str, int]] = []

    async def holds() -> bool:
        if await _has_sent(one.hub, point):
            pods = await one.pods(labels.DOWNLOAD)
            found[:] = [
                (pod.name(each), process) for each in pods for process in _processes(each) if process not in killed
            ]
        return bool(found)

    await one.world.until(holds, 90)
    return found[0]


def _processes(one: Manifest) -> list[int]:
    """Process ids of a pod's download, on its node, which this machine is."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            is_ours = f"pod{one['metadata']['uid']}/" in (each / "cgroup").read_text()
            if is_ours and b"\0download\0" in (each / "cmdline").read_bytes():
                found.append(int(each.name))
    return found
