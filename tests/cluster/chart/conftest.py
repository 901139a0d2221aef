"""The chart in the cluster: helm, the operator's real image, and a stand-in for the server."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[0:0] = [str(ROOT / "demo"), str(ROOT / "tools")]

from cluster import go_tools  # noqa: E402
from stages import images  # noqa: E402
from stages.cluster import Cluster as Demo  # noqa: E402

DEFINITION = "omegavlmdeployments.omegavlm.io"
STAND_IN = "localhost/omega-vlm/chart-stand-in"

Json = dict[str, Any]


@dataclass(frozen=True)
class Release:
    """One release of the chart, and the namespace that it serves."""

    name: str
    system: str
    models: str
    programs: Path
    kubectl: Callable[..., str]
    environment: dict[str, str]
    values: Json

    def helm(self, *arguments: str, values: Json | None = None) -> str:
        """The output of helm in the release's namespace."""
        command = [str(self.programs / "helm"), *arguments, f"--namespace={self.system}"]
        stdin = None
        if values is not None:
            command, stdin = [*command, "--values=-"], json.dumps(self.values | values)
        done = subprocess.run(command, input=stdin, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(f"helm {' '.join(arguments)}:\n{done.stdout}{done.stderr}\n{self._last_words()}")
        return done.stdout

    def install(self, chart: Path, **values: Any) -> None:
        """Install or upgrade, until the operator is ready."""
        self.helm("upgrade", "--install", self.name, str(chart), "--wait", "--timeout=3m", values=values)

    def get(self, *arguments: str) -> Json:
        """What kubectl gets where the models are."""
        answer: Json = json.loads(self.kubectl("--namespace", self.models, "get", *arguments, "--output=json"))
        return answer

    def rollback(self, revision: int) -> None:
        """Go back, until the operator is ready."""
        self.helm("rollback", self.name, str(revision), "--wait", "--timeout=3m")

    def uninstall(self) -> None:
        """Take the chart away, until the operator is gone."""
        self.helm("uninstall", self.name, "--wait", "--ignore-not-found")
        operators = f"--selector=app.kubernetes.io/instance={self.name},app.kubernetes.io/component=operator"
        self.kubectl("--namespace", self.system, "wait", "--for=delete", "pods", operators, "--timeout=2m")

    def serve(self, name: str = "vl") -> None:
        """Apply a resource without an image, and wait until it is ready."""
        spec = {
            "replicas": 1,
            "model": {"source": "path:///model"},
            "gpu": {"device": "cpu"},
            "rollout": {"drainSeconds": 1},
            "pod": {"resources": {"requests": {"cpu": "10m", "memory": "32Mi"}}},
        }
        head = {"name": name, "namespace": self.models}
        body = {"apiVersion": "omegavlm.io/v1alpha1", "kind": "OmegaVLMDeployment", "metadata": head, "spec": spec}
        self.kubectl("apply", "--filename=-", stdin=json.dumps(body))
        self.wait("Ready", name)

    def limit(self, pictures: int, name: str = "vl") -> None:
        """Change a live limit, and wait until the pods have it: an operator is at work."""
        patch = json.dumps({"spec": {"images": {"maxPerRequest": pictures}}})
        self.kubectl("--namespace", self.models, "patch", "ovlm", name, "--type=merge", f"--patch={patch}")
        self.wait("ConfigApplied", name)

    def wait(self, condition: str, name: str = "vl") -> None:
        """Wait for a condition of the newest generation."""
        newest = self.get("ovlm", name)["metadata"]["generation"]
        self.until(f"ovlm/{name}", ".status.observedGeneration", str(newest))
        self.kubectl("--namespace", self.models, "wait", f"ovlm/{name}", f"--for=condition={condition}", "--timeout=2m")

    def until(self, what: str, path: str, value: str) -> None:
        """Wait until a field of an object, by its JSONPath, has a value."""
        wanted = f"--for=jsonpath={{{path}}}={value}"
        self.kubectl("--namespace", self.models, "wait", what, wanted, "--timeout=2m")

    def pods(self) -> set[tuple[str, int]]:
        """The pods of all models but those that are on their way out, and how often each has been restarted."""
        found = self.get("pods", "--selector=app.kubernetes.io/component=server")["items"]
        return {
            (pod["metadata"]["uid"], sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ())))
            for pod in found
            if "deletionTimestamp" not in pod["metadata"]
        }

    def answer(self, path: str, name: str = "vl") -> Json:
        """What the pods answer through their Service."""
        service = f"/api/v1/namespaces/{self.models}/services/{name}:http/proxy"
        answer: Json = json.loads(self.kubectl("get", "--raw", f"{service}{path}"))
        return answer

    def may(self, account: str, *words: str) -> bool:
        """What the API server says of somebody's rights."""
        command = [str(self.programs / "kubectl"), "auth", "can-i", *words, f"--as={account}"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout.strip() == "yes"

    def _last_words(self) -> str:
        return self.kubectl("--namespace", self.system, "describe", "pods")[-4000:]


@pytest.fixture(scope="module")
def operator_image(cluster: Any) -> images.Image:
    """The operator's real image, in the cluster."""
    here = Demo(cluster.kubeconfig, go_tools.ensure(["kubectl", "helm"]), own=True)
    if os.environ.get("KUBECONFIG"):
        pytest.skip("images can be built into the local cluster only; unset KUBECONFIG")
    images.provide(here, images.OPERATOR, "localhost", show=lambda line: None)
    return images.OPERATOR


@pytest.fixture(scope="module")
def stand_in(tool: Callable[..., str], tmp_path_factory: pytest.TempPathFactory, operator_image: images.Image) -> str:
    """The stand-in server's image without its tag, which is the chart's appVersion."""
    code = (ROOT / "tests/cluster/operator/stand_in_server.py").read_text()
    dockerfile = tmp_path_factory.mktemp("stand-in") / "Dockerfile"
    base = "ARG BASE_IMAGE=docker.io/library/python:3.13-slim-trixie\nFROM ${BASE_IMAGE}\n"
    dockerfile.write_text(f"{base}ENTRYPOINT {json.dumps(['python3', '-c', code])}\n")
    tool("build-image", str(dockerfile), f"{STAND_IN}:0.1.0")
    return STAND_IN


@pytest.fixture
def release(
    kubeconfig: Path,
    kubectl: Callable[..., str],
    operator_image: images.Image,
    stand_in: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Release]:
    """A release of its own, not installed yet, for a namespace of its own.

    The definition is the chart's where nobody else has brought it, and then goes with the test.
    """
    mark = uuid.uuid4().hex[:8]
    was_there = bool(kubectl("get", "crd", DEFINITION, "--ignore-not-found", "--output=name"))
    one = Release(
        name=f"test-{mark}",
        system=f"test-{mark}-system",
        models=f"test-{mark}-models",
        programs=go_tools.directory(),
        kubectl=kubectl,
        environment={
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(tmp_path_factory.mktemp("helm")),
            "PATH": "/usr/bin:/bin",
        },
        values={
            "image": {"repository": f"localhost/{operator_image.name}", "tag": operator_image.tag},
            "serverImage": {"repository": stand_in},
            "watchNamespaces": [f"test-{mark}-models"],
            "crds": {"enabled": not was_there},
        },
    )
    for namespace in (one.system, one.models):
        kubectl("create", "namespace", namespace)
    yield one
    one.uninstall()
    kubectl("delete", "namespace", one.system, one.models, "--wait=false")
    if not was_there:
        kubectl("delete", "crd", DEFINITION, "--ignore-not-found")
