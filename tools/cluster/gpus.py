"""GPUs that no machine has: on the node, and on fake nodes whose pods run in name only.

A process that asks for a device does not find one: what they serve is scheduling, quota and the operator.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import Any

from cluster.go_tools import binary
from cluster.kubectl import apply, find, kubectl
from cluster.network import inside
from cluster.places import NODE, PLACES
from cluster.processes import Daemon
from cluster.shell import write_if_changed

RESOURCE = "nvidia.com/gpu"
FAKE = "kwok.x-k8s.io/node"
STAGES = PLACES.state / "config/kwok.json"
FAKE_PODS = IPv4Network("198.51.100.0/24")
"""Kept for documentation, so routed nowhere: whoever calls such a pod finds no one, rather than someone else."""


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


READY = '.status.conditions.[] | select(.type == "Ready") | .status'

NODE_STATUS = """\
conditions:
{{ range NodeConditions }}
- type: {{ .type }}
  status: {{ .status | Quote }}
  reason: {{ .reason }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ Now | Quote }}
  lastTransitionTime: {{ Now | Quote }}
{{ end }}
"""

POD_STATUS = """\
phase: Running
startTime: {{ Now | Quote }}
podIP: {{ PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace | Quote }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ Now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ Now | Quote }}}
- {type: Ready, status: "True", lastTransitionTime: {{ Now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ Now | Quote }}}}
{{ end }}
"""


def _stage(name: str, kind: str, when: list[dict[str, Any]], then: dict[str, Any]) -> dict[str, Any]:
    """What kwok does to each object of ``kind`` that fits ``when``."""
    resource = {"apiGroup": "v1", "kind": kind}
    spec = {"resourceRef": resource, "selector": {"matchExpressions": when}, "next": then}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def stages() -> list[dict[str, Any]]:
    """The whole life of fake nodes and their pods: ready at once, gone when deleted."""
    unready = {"key": READY, "operator": "NotIn", "values": ["True"]}
    deleted = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
    return [
        _stage("node-ready", "Node", [unready], {"statusTemplate": NODE_STATUS}),
        _stage("pod-ready", "Pod", [unready, {**deleted, "operator": "DoesNotExist"}], {"statusTemplate": POD_STATUS}),
        _stage("pod-gone", "Pod", [deleted], {"delete": True}),
    ]


def kwok() -> Daemon:
    """Keeps the fake nodes and their pods looking alive."""
    write_if_changed(STAGES, "\n---\n".join(json.dumps(stage) for stage in stages()))
    kubeconfig = PLACES.kubeconfig
    arguments = (
        f"--kubeconfig={kubeconfig}",
        f"--config={STAGES}",
        f"--manage-nodes-with-annotation-selector={FAKE}=fake",
        "--node-lease-duration-seconds=40",
        f"--cidr={FAKE_PODS}",
    )
    return Daemon("kwok", inside(binary("kwok"), *arguments), (kubeconfig, STAGES))


def make_fake_nodes(count: int, gpus: int) -> None:
    """Have exactly the fake nodes fake-0 ... fake-(count - 1)."""
    wanted = {f"fake-{index}" for index in range(count)}
    present = set(kubectl("get", "nodes", "--selector=type=kwok", "--output=name").replace("node/", "").split())
    if surplus := present - wanted:
        kubectl("delete", "node", *sorted(surplus))
    if wanted:
        apply({"apiVersion": "v1", "kind": "List", "items": [fake_node(name, gpus) for name in sorted(wanted)]})
