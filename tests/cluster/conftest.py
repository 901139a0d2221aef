"""A real cluster for the tests: the one that runs, or one that is started here and taken down at the end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

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


@contextlib.contextmanager
def shared(name: str, make: Callable[[], bool], take_away: Callable[[], object]) -> Iterator[bool]:
    """What runs of these tests beside each other share: the first makes it, and the last takes it away.

    Args:
        name: of what is shared, on this machine.
        make: makes it where it is not there, and says whether it did.
        take_away: takes away what was made.

    Yields:
        Whether it was made.
    """
    place = Path(tempfile.gettempdir())
    with (
        (place / f"omega-vlm-tests-{name}").open("a+") as users,
        (place / f"omega-vlm-tests-{name}.door").open("w") as door,
    ):

        def is_alone() -> bool:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            return False

        fcntl.flock(door, fcntl.LOCK_EX)
        if is_alone():
            users.truncate(0)
            users.write("made" if make() else "")
            users.flush()
        fcntl.flock(users, fcntl.LOCK_SH)
        users.seek(0)
        made = bool(users.read())
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield made
        finally:
            fcntl.flock(door, fcntl.LOCK_EX)
            if is_alone() and made:
                take_away()


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

    def start() -> bool:
        was_up = "running, pid" in subprocess.run(status, capture_output=True, text=True, check=False).stdout
        cluster_tool("up")
        return not was_up

    with shared("cluster", start, lambda: cluster_tool("down")) as ours:
        kubectl_path = Path(cluster_tool("tools", "kubectl")) / "kubectl"
        local = Cluster(Path(cluster_tool("kubeconfig")), kubectl_path, ours)
        demo = ("--namespace=omega-system", "--selector=owner=helm,name=omega-vlm")
        if local.kubectl("get", "secrets", *demo, "--output=name").split():
            pytest.fail("the running cluster holds the demo: run make demo-down first")
        yield local


@pytest.fixture(scope="session")
def kubeconfig(cluster: Cluster) -> Path:
    """Path of the administrator's kubeconfig."""
    return cluster.kubeconfig


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Callable[..., str]:
    """``kubectl(*arguments, stdin=None) -> str``."""
    return cluster.kubectl


@pytest.fixture(scope="session")
def definition(kubeconfig: Path, kubectl: Callable[..., str]) -> Iterator[None]:
    """The CRD of this checkout; taken away at the end unless there was one before, because a chart may want to own it."""
    name = yaml.safe_load(CRD.read_text())["metadata"]["name"]

    def install() -> bool:
        was_there = bool(kubectl("get", "crd", name, "--ignore-not-found", "--output=name"))
        kubectl("apply", "--server-side", "--force-conflicts", f"--filename={CRD}")
        # Not kubectl wait, nor a JSONPath: both fail on a definition so new that its conditions are null.
        for _ in range(300):
            conditions = json.loads(kubectl("get", f"--filename={CRD}", "--output=json"))["status"]["conditions"]
            if any((one["type"], one["status"]) == ("Established", "True") for one in conditions or ()):
                return not was_there
            time.sleep(0.2)
        pytest.fail("the API server does not serve the definition after a minute")

    def take_away() -> None:
        # By now it may have gone with the cluster, or belong to a chart.
        owner_of = "--output=jsonpath={.metadata.annotations.meta\\.helm\\.sh/release-name}"
        if not kubectl("get", "crd", name, "--ignore-not-found", owner_of):
            kubectl("delete", "crd", name, "--ignore-not-found")

    with shared(f"definition-{str(kubeconfig).replace('/', '-')}", install, take_away):
        yield


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
    config.addinivalue_line(
        "markers", "alone: has the cluster for itself; all other tests keep to namespaces of their own"
    )
    config.addinivalue_line("markers", "ends_cluster: ends the local cluster, and so runs last")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What ends the cluster runs when everyone else is done with it."""
    items.sort(key=lambda item: item.get_closest_marker("ends_cluster") is not None)
