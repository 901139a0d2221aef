"""Whether there is room for one more pod, and what would be if others went: nodes and quotas together. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from omega_operator import quota
from omega_operator.capacity import Node, Occupant, occupant
from omega_operator.placement import Located, admits, welcomes
from omega_operator.quota import Quota


@dataclass(frozen=True)
class Candidate:
    """A pod that looks for a node."""

    pod: Occupant
    spec: Mapping[str, Any]

    @classmethod
    def of(cls, namespace: str, template: Mapping[str, Any]) -> "Candidate":
        """The pod that a template makes."""
        return cls(occupant(namespace, template), template["spec"])

    @property
    def is_choosy(self) -> bool:
        """Whether it minds who else is near."""
        affinity = self.spec.get("affinity") or {}
        return bool(affinity.get("podAffinity") or affinity.get("podAntiAffinity"))


@dataclass(frozen=True)
class Room:
    """The nodes that take pods, and the quotas of the namespace that we look from."""

    nodes: tuple[Node, ...]
    quotas: tuple[Quota, ...] = ()

    def takes(self, candidate: Candidate) -> bool:
        """Whether one more such pod would be made and would find a node now."""
        return self.allows(candidate) and any(self.fits(node, candidate) for node in self.nodes)

    def allows(self, candidate: Candidate) -> bool:
        """Whether the quotas allow one more such pod."""
        wanted = quota.demand(candidate.spec)
        return all(one.has(wanted) for one in self.quotas)

    def fits(self, node: Node, candidate: Candidate) -> bool:
        """Whether one more such pod could run on this node now."""
        return (
            admits(node, candidate.spec)
            and node.has(candidate.pod.requests)
            and welcomes(node, self.nodes, self._shy, candidate.pod, candidate.spec)
        )

    def most(self, candidate: Candidate, limit: int) -> int:
        """How many more such pods there is room for; counted up to a limit."""
        room, found = self, 0
        for index in range(len(self.nodes)):
            while found < limit and room.allows(candidate) and room.fits(room.nodes[index], candidate):
                room, found = room._with(index, candidate), found + 1
        return found

    def without(self, pods: Collection[tuple[str, Mapping[str, Any]]], namespace: str) -> "Room":
        """The room there is when pods of the namespace are gone, each given by its name and what it asked for."""
        names = {name for name, _ in pods}
        quotas = self.quotas
        for _, spec in pods:
            given = {name: -value for name, value in quota.demand(spec).items()}
            quotas = tuple(one.less(given) for one in quotas)
        return Room(tuple(_without(node, names, namespace) for node in self.nodes), quotas)

    @property
    def is_shy(self) -> bool:
        """Whether a pod on the nodes minds who else is near."""
        return bool(self._shy)

    @cached_property
    def _shy(self) -> list[Located]:
        return [(node, one) for node in self.nodes for one in node.pods if one.avoids]

    def _with(self, index: int, candidate: Candidate) -> "Room":
        node = replace(self.nodes[index], pods=(*self.nodes[index].pods, candidate.pod))
        taken = quota.demand(candidate.spec)
        quotas = tuple(one.less(taken) for one in self.quotas)
        return Room((*self.nodes[:index], node, *self.nodes[index + 1 :]), quotas)


def _without(node: Node, names: Collection[str], namespace: str) -> Node:
    if not any(one.namespace == namespace and one.name in names for one in node.pods):
        return node
    return replace(node, pods=tuple(one for one in node.pods if one.namespace != namespace or one.name not in names))
