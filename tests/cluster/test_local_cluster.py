"""The local cluster behaves like any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import go_tools, images, mounts
from cluster.places import PLACES

ROOT = Path(__file__).resolve().parents[2]
TOOL = (sys.executable, str(ROOT / "tools/cluster"))

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif("KUBECONFIG" in os.environ, reason="KUBECONFIG names another cluster"),
]

Command = Callable[..., str]

SERVE = """\
import http.server, pathlib
pathlib.Path("/data/greeting").write_text("hello\\n")
print("serving", flush=True)
http.server.test(http.server.SimpleHTTPRequestHandler, port=8000)
"""

PODS = """\
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {namespace}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  claimRef: {{name: data, namespace: {namespace}}}
  hostPath: {{path: {directory}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  volumeName: {namespace}
  resources: {{requests: {{storage: 1Gi}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: {image}
    imagePullPolicy: Never
    workingDir: /data
    resources: {{limits: {{nvidia.com/gpu: "1"}}}}
    readinessProbe: {{httpGet: {{path: /greeting, port: 8000}}, periodSeconds: 1}}
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8000}}]}}
"""

ASK = """\
import ssl, time, urllib.error, urllib.request
for attempt in range(50):  # a pod is behind its service not before kube-proxy has heard that it is ready
    try:
        answer = urllib.request.urlopen("http://web.{namespace}.svc/greeting", timeout=10)
        break
    except urllib.error.URLError:
        time.sleep(0.2)
print(answer.read().decode(), end="")
authority = ssl.create_default_context(cafile="/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
urllib.request.urlopen("https://kubernetes.default.svc/version", timeout=10, context=authority)
"""


@pytest.fixture(scope="module")
def image(tool: Command, cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with a small web server, built by the cluster's own tool."""
    directory = tmp_path_factory.mktemp("image")
    dockerfile = directory / "Dockerfile"
    command = json.dumps(["python3", "-c", SERVE])
    dockerfile.write_text(
        f"ARG BASE_IMAGE=docker.io/library/python:3.13-slim-trixie\nFROM ${{BASE_IMAGE}}\nCMD {command}\n"
    )
    name = "localhost/omega-vlm/test-web:1"
    tool("build-image", str(dockerfile), name)
    return name


def test_a_pod_serves_other_pods_and_the_host(kubectl: Command, namespace: str, image: str, tmp_path: Path) -> None:
    """A pod with a GPU and a volume gets ready, answers by its service's name, and shows its log."""
    manifests = PODS.format(namespace=namespace, directory=tmp_path, image=image)
    kubectl("apply", "--namespace", namespace, "--filename=-", stdin=manifests)
    try:
        kubectl("wait", "--namespace", namespace, "--for=condition=Ready", "pod/web", "--timeout=180s")
        assert (tmp_path / "greeting").read_text() == "hello\n"
        assert kubectl("logs", "--namespace", namespace, "web").startswith("serving\n")
        ask = ASK.format(namespace=namespace)
        assert kubectl("exec", "--namespace", namespace, "web", "--", "python3", "-c", ask) == "hello\n"
        service = json.loads(kubectl("get", "service", "web", "--namespace", namespace, "--output=json"))
        pod = json.loads(kubectl("get", "pod", "web", "--namespace", namespace, "--output=json"))
        for address in (service["spec"]["clusterIP"], f"{pod['status']['podIP']}:8000"):
            answer = subprocess.run(
                ["curl", "-sS", "-m", "10", f"http://{address}/greeting"], capture_output=True, check=True
            )
            assert answer.stdout == b"hello\n"
    finally:
        kubectl("delete", "pod", "web", "--namespace", namespace, "--wait=true")
        kubectl("delete", "persistentvolume", namespace, "--wait=false")


def test_an_archive_becomes_an_image(tool: Command, kubectl: Command, namespace: str, tmp_path: Path) -> None:
    """An image from a file runs without any registry."""
    name = "localhost/omega-vlm/test-loaded:1"
    archive = tmp_path / "image.tar"
    archive.write_bytes(images.one_file_image(name, "program", go_tools.binary("pause").read_bytes()))
    tool("load-image", str(archive))
    kubectl("run", "loaded", "--namespace", namespace, f"--image={name}", "--image-pull-policy=Never")
    kubectl("wait", "--namespace", namespace, "--for=condition=Ready", "pod/loaded", "--timeout=60s")


def test_the_node_advertises_gpus(kubectl: Command) -> None:
    """Pods may ask the node for 8 GPUs that it does not have."""
    node = json.loads(kubectl("get", "node", "omega", "--output=json"))
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"


def test_starting_twice_changes_nothing(tool: Command, kubectl: Command) -> None:
    """A second start leaves every process alone and succeeds."""
    before = tool("status")
    tool("up")
    assert tool("status") == before


def test_a_dead_daemon_is_started_again(tool: Command, kubectl: Command) -> None:
    """Starting once more repairs a cluster whose kubelet was killed, and the GPUs are still there."""
    status = tool("status")
    pid = next(line.rpartition(" ")[2] for line in status.splitlines() if line.startswith("kubelet"))
    subprocess.run(["kill", "-9", pid], check=True)
    assert subprocess.run([*TOOL, "status"], capture_output=True, check=False).returncode == 1
    tool("up")
    test_the_node_advertises_gpus(kubectl)


def test_pods_run_in_name_only_on_fake_nodes(tool: Command, kubectl: Command, namespace: str) -> None:
    """Two fake nodes take pods that tolerate them, and go away when no longer asked for."""
    tool("up", "--fake-nodes", "2")
    try:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "fake"},
            "spec": {
                "nodeSelector": {"type": "kwok"},
                "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
                "containers": [
                    {"name": "fake", "image": "example.com/nothing", "resources": {"limits": {"nvidia.com/gpu": "8"}}}
                ],
            },
        }
        kubectl("apply", "--namespace", namespace, "--filename=-", stdin=yaml.safe_dump(pod))
        kubectl("wait", "--namespace", namespace, "--for=condition=Ready", "pod/fake", "--timeout=60s")
        kubectl("delete", "pod", "fake", "--namespace", namespace, "--timeout=60s")
    finally:
        tool("up")
    assert kubectl("get", "nodes", "--output=name").split() == ["node/omega"]


def traces() -> dict[str, Any]:
    """Whatever a cluster could leave on the host."""

    def output(*command: str) -> list[str]:
        return sorted(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())

    commands = [file.read_bytes().replace(b"\0", b" ").decode() for file in Path("/proc").glob("[0-9]*/cmdline")]
    return {
        "processes": sorted(line for line in commands if "/omega-vlm/tools/" in line or "omega-vlm/cluster" in line),
        "mounts": sorted(str(point) for point in mounts.present(PLACES.run, PLACES.state, PLACES.containerd_root)),
        "namespaces": output("lsns", "--noheadings", "--output", "NS", "--type", "net"),
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "routes": output("ip", "route"),
        "rules": [line for line in output("iptables-save") if line.startswith("-A")],
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("**/omega-vlm")),
        "results": sorted(path.name for path in Path("/var/lib/cni/results").glob("*")),
        "run": Path("/run/omega-vlm").exists(),
    }


@pytest.mark.ends_cluster
def test_the_end_leaves_nothing(tool: Command, cluster: Any, image: str) -> None:
    """After a cluster with a running pod is ended, the host is as it was before that cluster, and a new one starts."""
    if not cluster.ours:
        pytest.skip("the cluster was there before these tests: make cluster-down first")
    tool("down")
    before = traces()
    assert not before["processes"]
    assert not before["mounts"]
    assert not before["cgroups"]
    tool("up")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "left-running"},
        "spec": {"containers": [{"name": "sleep", "image": image, "command": ["sleep", "1000"]}]},
    }
    cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(pod))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/left-running", "--timeout=60s")
    assert traces() != before
    tool("down")
    assert traces() == before
    tool("up")
