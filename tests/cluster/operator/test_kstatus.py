"""The status, read by the library that Flux reads it with: Helm 4 waits by it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from omega_operator.kinds import RESOURCE, Manifest

SMALL = {"requests": {"cpu": "10m", "memory": "32Mi"}}

Install = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def install(tool: Callable[..., str], kubeconfig: Path, namespace: str, tmp_path: Path) -> Install:
    """``install(seconds, **fields)``: a release with one resource, which Helm waits for."""
    helm = Path(tool("tools", "helm")) / "helm"

    def run(seconds: int, **fields: Any) -> subprocess.CompletedProcess[str]:
        spec: Manifest = {"model": {"source": "path:///model"}, "gpu": {"device": "cpu"}, "pod": {"resources": SMALL}}
        body = {"apiVersion": RESOURCE.api_version, "kind": RESOURCE.name, "metadata": {"name": "vl"}}
        (tmp_path / "templates").mkdir(exist_ok=True)
        (tmp_path / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "vl", "version": "1.0.0"}))
        (tmp_path / "templates/vl.yaml").write_text(yaml.safe_dump(body | {"spec": spec | fields}))
        command = [helm, "upgrade", "--install", "vl", tmp_path, "--wait", f"--timeout={seconds}s"]
        where = [f"--kubeconfig={kubeconfig}", f"--namespace={namespace}"]
        return subprocess.run([*command, *where], capture_output=True, text=True, check=False)

    return run


async def test_ready_is_current(install: Install, world: Any, stand_in: str) -> None:
    """A release is waited for until its pods serve, and so is the next generation of it."""
    done = install(60, image=stand_in)
    assert done.returncode == 0, done.stderr
    assert (await world.conditions())["Ready"]["status"] == "True"
    done = install(60, image=stand_in, model={"source": "path:///model", "name": "another"})
    assert done.returncode == 0, done.stderr
    status = (await world.get(RESOURCE, "vl"))["status"]
    assert (status["observedGeneration"], status["readyReplicas"]) == (2, 1)


async def test_stalled_is_failed(install: Install, world: Any, stand_in: str) -> None:
    """A stalled resource ends the waiting at once, with the operator's words."""
    done = install(300, image=stand_in, model={"source": "pvc://weights/omega"})
    assert done.returncode != 0
    assert "status: Failed" in done.stderr
    assert "PersistentVolumeClaim weights" in done.stderr
