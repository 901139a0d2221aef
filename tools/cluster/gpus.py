"""GPUs that no machine has: on the node, and on fake nodes whose pods run in name only.

A process that asks for a device does not find one: what they serve is scheduling, quota and the operator.
"""

from __future__ import annotations

import json
from typing import Any

from cluster.go_tools import binary
from cluster.kubectl import apply, find, kubectl
from cluster.network import inside
from cluster.places import NODE, PLACES
from cluster.processes import Daemon

RESOURCE = "nvidia.com/gpu"
FAKE = "kwok.x-k8s.io/node"


def advertised(node: dict[str, Any] | None) -> int:
    """How many GPUs pods may ask ``node`` for."""
    return int(node["status"].get("allocatable", {}).get(RESOURCE, 0)) if node else 0


def advertise(count: int) -> None:
    """Make the node offer ``count`` GPUs; a kubelet that starts anew takes them back."""
    if advertised(find("node", NODE)) != count:
        amounts = {RESOURCE: str(count)}
        patch = json.dumps({"status": {"capacity": amounts, "allocatable": amounts}})
        kubectl("patch", "node", NODE, "--subresource=status", "--type=merge", f"--patch={patch}")


def fake_node(name: str, gpus: int) -> dict[str, Any]:
    """A node of kwok's; tainted, so that only pods that tolerate it (key kwok.x-k8s.io/node) pretend to run there."""
    amounts = {"cpu": "128", "memory": "1Ti", "pods": "110", RESOURCE: str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {FAKE: "fake"},
            "labels": {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [{"key": FAKE, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": amounts, "allocatable": amounts},
    }


def kwok() -> Daemon:
    """Keeps the fake nodes and their pods looking alive."""
    kubeconfig = PLACES.kubeconfig
    arguments = (f"--kubeconfig={kubeconfig}", f"--manage-nodes-with-annotation-selector={FAKE}=fake")
    return Daemon("kwok", inside(binary("kwok"), *arguments), (kubeconfig,))


def make_fake_nodes(count: int, gpus: int) -> None:
    """Have exactly the fake nodes fake-0 ... fake-(count - 1)."""
    wanted = {f"fake-{index}" for index in range(count)}
    present = set(kubectl("get", "nodes", "--selector=type=kwok", "--output=name").replace("node/", "").split())
    if surplus := present - wanted:
        kubectl("delete", "node", *sorted(surplus))
    if wanted:
        apply({"apiVersion": "v1", "kind": "List", "items": [fake_node(name, gpus) for name in sorted(wanted)]})
