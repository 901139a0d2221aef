"""A real cluster for the tests: the one that runs, or one that is started here and taken down at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CRD = ROOT / "crds" / "omegavlmdeployments.yaml"


def cluster_tool(*arguments: str) -> str:
    """The standard output of ``python3 tools/cluster ARGUMENTS``."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/cluster"), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"tools/cluster {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


@pytest.fixture(scope="session")
def tool() -> Callable[..., str]:
    """``tool(*arguments) -> str``: runs tools/cluster."""
    return cluster_tool


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers."""

    kubeconfig: Path
    kubectl_path: Path
    ours: bool
    """Whether these tests started it, and so may end it."""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """The standard output of ``kubectl ARGUMENTS``; the test fails with its standard error if it fails."""
        command = [str(self.kubectl_path), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.fail(f"kubectl {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        return done.stdout


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster that KUBECONFIG names, else the local one that runs, else a local one until the tests end."""
    if given := os.environ.get("KUBECONFIG"):
        yield Cluster(Path(given), Path(cluster_tool("tools", "kubectl")) / "kubectl", ours=False)
        return
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a local cluster needs root on Linux; set KUBECONFIG to use another one")
    status = [sys.executable, str(ROOT / "tools/cluster"), "status"]
    was_up = "running, pid" in subprocess.run(status, capture_output=True, text=True, check=False).stdout
    cluster_tool("up")
    kubectl_path = Path(cluster_tool("tools", "kubectl")) / "kubectl"
    local = Cluster(Path(cluster_tool("kubeconfig")), kubectl_path, ours=not was_up)
    demo = ("--namespace=omega-system", "--selector=owner=helm,name=omega-vlm")
    if local.kubectl("get", "secrets", *demo, "--output=name").split():
        pytest.fail("the running cluster holds the demo: run make demo-down first")
    yield local
    if not was_up:
        cluster_tool("down")


@pytest.fixture(scope="session")
def kubeconfig(cluster: Cluster) -> Path:
    """Path of the administrator's kubeconfig."""
    return cluster.kubeconfig


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Callable[..., str]:
    """``kubectl(*arguments, stdin=None) -> str``."""
    return cluster.kubectl


@pytest.fixture(scope="session")
def install_definition(kubectl: Callable[..., str]) -> Callable[[], None]:
    """``install_definition()``: applies the CRD of this checkout, and returns when the API server serves it."""

    def install() -> None:
        kubectl("apply", "--server-side", "--force-conflicts", f"--filename={CRD}")
        # Not kubectl wait, nor a JSONPath: both fail on a definition so new that its conditions are null.
        for _ in range(300):
            conditions = json.loads(kubectl("get", f"--filename={CRD}", "--output=json"))["status"]["conditions"]
            if any((one["type"], one["status"]) == ("Established", "True") for one in conditions or ()):
                return
            time.sleep(0.2)
        pytest.fail("the API server does not serve the definition after a minute")

    return install


@pytest.fixture
def make_namespace(kubectl: Callable[..., str]) -> Iterator[Callable[[], str]]:
    """``make_namespace() -> str``: namespaces that go with the test."""
    made: list[str] = []

    def make() -> str:
        made.append(f"test-{uuid.uuid4().hex[:8]}")
        kubectl("create", "namespace", made[-1])
        return made[-1]

    yield make
    if made:
        kubectl("delete", "namespace", *made, "--ignore-not-found", "--wait=false")


@pytest.fixture
def namespace(make_namespace: Callable[[], str]) -> str:
    """A namespace of the test's own."""
    return make_namespace()


def pytest_configure(config: pytest.Config) -> None:
    """Declare our marker."""
    config.addinivalue_line("markers", "ends_cluster: ends the local cluster, and so runs last")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What ends the cluster runs when everyone else is done with it."""
    items.sort(key=lambda item: item.get_closest_marker("ends_cluster") is not None)
