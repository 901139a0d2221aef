"""How soon the status of a resource names what stands in its way, on the local cluster: seconds from kubectl create.

    .venv/bin/python tools/causes.py

One resource for each fault, at the same time, on the real kubelet. The server's image must be in the cluster, or is built (make
demo does). Exit code 1 if a cause is not named, is another one, or took longer than 10 seconds. The server itself
takes a few seconds to find out that a model is missing; these count.
"""

import json
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0:1] = [str(ROOT / folder) for folder in ("tools", "demo")]

import operator_process  # noqa: E402
from cluster import go_tools  # noqa: E402
from cluster.places import PLACES  # noqa: E402
from stages import images  # noqa: E402
from stages.cluster import Cluster  # noqa: E402

BOUND = 10.0
PATIENCE = 60.0
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}}
GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a resource, and what its status must say."""

    name: str
    reason: str
    words: str
    spec: dict[str, Any] = field(default_factory=dict)


FAULTS = (
    Fault(
        "no-gpus",
        "InsufficientGPU",
        "needs 8 example.com/gpu",
        {"gpu": {"count": 8, "resourceName": "example.com/gpu"}},
    ),
    Fault("no-image", "ImagePullFailed", "there-is-none", {"image": "localhost/there-is-none:1"}),
    Fault("quota", "QuotaExceeded", "few", {"gpu": {"count": 4}}),
    Fault("no-secret", "SecretMissing", "keys", {"auth": {"secretRef": {"name": "keys"}}}),
    Fault("no-model", "ServerFailed", "is not a checkpoint", {"model": {"source": "path:///nowhere"}}),
    Fault("no-claim", "PVCMissing", "weights", {"model": {"source": "pvc://weights/omega"}}),
    Fault(
        "no-format",
        "ServerFailed",
        "LOG_FORMAT",
        {
            "model": {"source": f"oci://{images.MODEL.reference('localhost')}"},
            "pod": {"env": [{"name": "LOG_FORMAT", "value": "verse"}]},
        },
    ),
)


def main() -> int:
    """Make the resources, and print when each was told."""
    cluster = Cluster(PLACES.kubeconfig, go_tools.ensure(["kubectl", "helm"]), own=True)
    for image in (images.SERVER, images.MODEL):
        images.provide(cluster, image, "localhost", show=lambda line: print(line, file=sys.stderr))
    namespace = f"causes-{uuid.uuid4().hex[:6]}"
    cluster.run("kubectl", "create", "namespace", namespace)
    try:
        hard = {"spec": {"hard": {f"requests.{GPU}": "1"}}}
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}} | hard
        cluster.run("kubectl", "-n", namespace, "create", "-f", "-", stdin=json.dumps(quota))
        with operator_process.running([namespace], images.SERVER.reference("localhost")):
            return _measure(cluster, namespace)
    finally:
        cluster.run("kubectl", "delete", "namespace", namespace, "--wait=false")


def _measure(cluster: Cluster, namespace: str) -> int:
    items = [_resource(fault) for fault in FAULTS]
    everything = {"apiVersion": "v1", "kind": "List", "items": items}
    cluster.run("kubectl", "-n", namespace, "create", "-f", "-", stdin=json.dumps(everything))
    began = time.monotonic()
    took: dict[str, float] = {}
    found: dict[str, dict[str, Any]] = {}
    while len(took) < len(FAULTS) and time.monotonic() - began < PATIENCE:
        for one in cluster.get("-n", namespace, "ovlm")["items"]:
            name = one["metadata"]["name"]
            if name in took:
                continue  # a server that is started once more may look better for a moment
            stalled = [each for each in one.get("status", {}).get("conditions", ()) if each["type"] == "Stalled"]
            found[name] = stalled[0] if stalled else {}
            if found[name].get("status") == "True":
                took.setdefault(name, time.monotonic() - began)
        time.sleep(0.2)
    bad = 0
    for fault in FAULTS:
        said, seconds = found.get(fault.name, {}), took.get(fault.name)
        is_right = said.get("reason") == fault.reason and fault.words in said.get("message", "")
        is_soon = seconds is not None and seconds <= BOUND
        bad += not (is_right and is_soon)
        shown = "never" if seconds is None else f"{seconds:.1f} s"
        print(
            f"{fault.name:10} {shown:>7}  {said.get('reason')}: {said.get('message')}{'' if is_right and is_soon else '   WRONG'}"
        )
    print(cluster.run("kubectl", "-n", namespace, "get", "ovlm", "-o", "wide"))
    return bool(bad)


def _resource(fault: Fault) -> dict[str, Any]:
    pod = {"resources": SMALL} | fault.spec.get("pod", {})
    plain: dict[str, Any] = {
        "replicas": 1,
        "model": {"source": "path:///nowhere"},
        "gpu": {"device": "cpu", "count": 1},
    }
    spec = plain | fault.spec | {"pod": pod}
    head = {"apiVersion": "omegavlm.io/v1alpha1", "kind": "OmegaVLMDeployment", "metadata": {"name": fault.name}}
    return head | {"spec": spec}


if __name__ == "__main__":
    sys.exit(main())
