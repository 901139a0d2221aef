"""What is free on the nodes, and whether a pod fits. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from omega_operator.kinds import Manifest

Amounts = Mapping[str, Decimal]
"""By the name of a node resource, for example memory: how much of it, in bytes, cores or pieces."""

_UNITS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}
_AMOUNT = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkKMGTPE]?i?)")


@dataclass(frozen=True)
class Node:
    """A node, reduced to what decides whether a pod fits."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, str], ...]
    allocatable: Amounts
    free: Amounts


def amount(quantity: str | int) -> Decimal:
    """The number behind any quantity that the API server writes: 8, 500m, 16Gi, 1e3.

    Raises:
        ValueError: the text is not a quantity.
    """
    match = _AMOUNT.fullmatch(str(quantity))
    if match is None:
        raise ValueError(f'"{quantity}" is not a quantity')
    return Decimal(match[1]) * _UNITS[match[2]]


def requests_of(pod_spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """What the scheduler reserves for a pod: the sum of its containers, or its largest init container."""
    total: dict[str, Decimal] = defaultdict(Decimal)
    for container in pod_spec.get("containers", ()):
        for name, value in _requests(container).items():
            total[name] += value
    for container in pod_spec.get("initContainers", ()):
        for name, value in _requests(container).items():
            total[name] = max(total[name], value)
    for name, quantity in (pod_spec.get("overhead") or {}).items():
        total[name] += amount(quantity)
    return dict(total)


def nodes_of(nodes: Iterable[Manifest], pods: Iterable[Manifest]) -> tuple[Node, ...]:
    """The nodes that take pods, less what the pods on them hold. Pods that ended hold nothing."""
    held: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for pod in pods:
        node_name = pod["spec"].get("nodeName")
        if node_name and pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}:
            held[node_name]["pods"] += 1
            for name, value in requests_of(pod["spec"]).items():
                held[node_name][name] += value
    return tuple(_node(node, held[node["metadata"]["name"]]) for node in nodes if _takes_pods(node))


def fits(node: Node, pod_spec: Mapping[str, Any]) -> bool:
    """Whether one more pod of this kind could run on a node now."""
    wanted = requests_of(pod_spec) | {"pods": Decimal(1)}
    return admits(node, pod_spec) and all(node.free.get(name, Decimal(0)) >= value for name, value in wanted.items())


def admits(node: Node, pod_spec: Mapping[str, Any]) -> bool:
    """Whether a node would take the pod if it were empty: node selector and taints."""
    selector = pod_spec.get("nodeSelector") or {}
    tolerations = pod_spec.get("tolerations") or []
    return all(node.labels.get(key) == value for key, value in selector.items()) and all(
        any(_tolerates(toleration, taint) for toleration in tolerations)
        for taint in node.taints
        if taint.get("effect") in {"NoSchedule", "NoExecute"}
    )


def _requests(container: Mapping[str, Any]) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    given = (resources.get("limits") or {}) | (resources.get("requests") or {})
    return {name: amount(quantity) for name, quantity in given.items()}


def _takes_pods(node: Manifest) -> bool:
    conditions = node.get("status", {}).get("conditions") or ()
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and not node["spec"].get("unschedulable")


def _node(node: Manifest, held: Amounts) -> Node:
    allocatable = {name: amount(quantity) for name, quantity in node["status"].get("allocatable", {}).items()}
    return Node(
        name=node["metadata"]["name"],
        labels=node["metadata"].get("labels") or {},
        taints=tuple(node["spec"].get("taints") or ()),
        allocatable=allocatable,
        free={name: value - held.get(name, Decimal(0)) for name, value in allocatable.items()},
    )


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key", "") in {"", taint["key"]}
    return toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")
