"""What nodes have, what pods take from it, and what is left. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
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
class Occupant:
    """A pod, reduced to what decides where it fits and who fits beside it."""

    namespace: str
    name: str
    labels: Mapping[str, str]

    requests: Amounts
    """What it takes from its node; of the resource `pods` it takes one."""

    avoids: tuple[Mapping[str, Any], ...] = ()
    """Its required anti-affinity: it shares no part of the topology with pods that one of these terms selects."""


@dataclass(frozen=True)
class Node:
    """A node that takes pods, and who is on it."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, str], ...]
    allocatable: Amounts
    pods: tuple[Occupant, ...] = ()

    @cached_property
    def free(self) -> Amounts:
        """What no pod has taken."""
        left = dict(self.allocatable)
        for pod in self.pods:
            for name, value in pod.requests.items():
                left[name] = left.get(name, Decimal(0)) - value
        return left

    def has(self, wanted: Amounts) -> bool:
        """Whether so much is free."""
        return all(self.free.get(name, Decimal(0)) >= value for name, value in wanted.items())


def amount(quantity: str | int) -> Decimal:
    """The number behind any quantity that the API server writes: 8, 500m, 16Gi, 1e3.

    Raises:
        ValueError: the text is not a quantity.
    """
    match = _AMOUNT.fullmatch(str(quantity))
    if match is None:
        raise ValueError(f'"{quantity}" is not a quantity')
    return Decimal(match[1]) * _UNITS[match[2]]


def amounts(quantities: Mapping[str, str | int] | None) -> dict[str, Decimal]:
    """The numbers behind several quantities."""
    return {name: amount(quantity) for name, quantity in (quantities or {}).items()}


def requests_of(pod_spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """What the scheduler reserves for a pod: the sum of what runs side by side, or its largest init container.

    An init container that restarts always (a sidecar) runs beside all that follow. What a pod requests as a whole counts
    in place of what its containers do.
    """
    total: dict[str, Decimal] = defaultdict(Decimal)
    most: dict[str, Decimal] = defaultdict(Decimal)
    for container in pod_spec.get("initContainers") or ():
        stays = container.get("restartPolicy") == "Always"
        for name, value in _requests(container).items():
            most[name] = max(most[name], total[name] + value)
            total[name] += value if stays else 0
    for container in pod_spec.get("containers") or ():
        for name, value in _requests(container).items():
            total[name] += value
    largest = {name: max(total[name], most[name]) for name in total.keys() | most.keys()}
    largest |= _requests(pod_spec)
    for name, value in amounts(pod_spec.get("overhead")).items():
        largest[name] = largest.get(name, Decimal(0)) + value
    return largest


def occupant(namespace: str, pod: Mapping[str, Any]) -> Occupant:
    """A pod, or the pod that a template makes, in a namespace."""
    head, spec = pod["metadata"], pod["spec"]
    rules = ((spec.get("affinity") or {}).get("podAntiAffinity") or {}).get(REQUIRED) or ()
    return Occupant(
        namespace=namespace,
        name=head.get("name", ""),
        labels=head.get("labels") or {},
        requests=requests_of(spec) | {"pods": Decimal(1)},
        avoids=tuple(rules),
    )


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
"""The affinities that are no mere preference."""


def nodes_of(nodes: Iterable[Manifest], pods: Iterable[Manifest]) -> tuple[Node, ...]:
    """The nodes that take pods, and the pods on them.

    A pod that is being deleted holds what it has until it is gone: the kubelet lets go of it when its last container has
    ended. Pods that ended hold nothing.
    """
    held: dict[str, list[Occupant]] = defaultdict(list)
    for pod in filter(_holds, pods):
        held[pod["spec"]["nodeName"]].append(occupant(pod["metadata"].get("namespace", ""), pod))
    return tuple(_node(node, held[node["metadata"]["name"]]) for node in nodes if _takes_pods(node))


def shows(nodes: Iterable[Node], namespace: str, selector: Mapping[str, str], pods: Iterable[Manifest]) -> bool:
    """Whether just these of the pods that a selector selects are on the nodes; else some came or went since.

    What became of pods on nodes that take none is not looked at.
    """
    wanted, there, known = selector.items(), set(), set()
    for node in nodes:
        known.add(node.name)
        there |= {
            (node.name, one.name) for one in node.pods if one.namespace == namespace and wanted <= one.labels.items()
        }
    placed = {(pod["spec"]["nodeName"], pod["metadata"]["name"]) for pod in filter(_holds, pods)}
    return there == {(node, name) for node, name in placed if node in known}


def _requests(container: Mapping[str, Any]) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    return amounts((resources.get("limits") or {}) | (resources.get("requests") or {}))


def _holds(pod: Manifest) -> bool:
    """Whether it takes something from a node."""
    return bool(pod["spec"].get("nodeName")) and pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}


def _takes_pods(node: Manifest) -> bool:
    conditions = node.get("status", {}).get("conditions") or ()
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and not node["spec"].get("unschedulable")


def _node(node: Manifest, pods: list[Occupant]) -> Node:
    return Node(
        name=node["metadata"]["name"],
        labels=node["metadata"].get("labels") or {},
        taints=tuple(node["spec"].get("taints") or ()),
        allocatable=amounts(node["status"].get("allocatable")),
        pods=tuple(pods),
    )
