"""How pods are replaced: start a new one first, or stop an older one first. Pure.

A pod that is stopped keeps its GPUs until its last container has ended, for the scheduler and for quotas alike. So a new pod
may be made at once, and starts when the GPUs are really free; nothing here has to wait for that.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from omega_operator import pod
from omega_operator.kinds import Manifest
from omega_operator.observed import Observed
from omega_operator.room import Candidate, Room

Wish = Literal["Auto", "Surge", "DrainFirst"]

PATIENCE = 30.0
"""Seconds for which a new pod may wait for room before older ones go for it."""

_CURABLE = re.compile("Insufficient|anti-affinity|ReadWriteOncePod|free ports|Too many pods|max volume count")
"""What the scheduler says of a node where an older pod that goes may be what helps."""


@dataclass(frozen=True)
class Plan:
    """How a Deployment replaces its pods: how many more than wanted there may be, and how many fewer may be ready."""

    surge: int
    unavailable: int

    first: tuple[str, ...] = ()
    """Older pods whose going makes room, in the order in which they should go. Empty: whichever goes makes room."""

    @property
    def drains(self) -> bool:
        """Whether older pods go before new ones start."""
        return self.surge == 0

    def manifest(self) -> dict[str, Any]:
        """In a Deployment's words."""
        numbers = {"maxSurge": self.surge, "maxUnavailable": self.unavailable}
        return {"type": "RollingUpdate", "rollingUpdate": numbers}


SURGE = Plan(surge=1, unavailable=0)
DRAIN_ONE = Plan(surge=0, unavailable=1)


def plan_of(current: Manifest | None) -> Plan:
    """How a Deployment replaces its pods now."""
    update = (current or {}).get("spec", {}).get("strategy", {}).get("rollingUpdate", {})
    if update.get("maxSurge") != 0:
        return SURGE
    unavailable = update.get("maxUnavailable")
    return Plan(0, unavailable) if isinstance(unavailable, int) else DRAIN_ONE


def begins(current: Manifest | None, template: Manifest) -> bool:
    """Whether applying this template replaces the pods of a Deployment."""
    return current is not None and pod.template_digest(current["spec"]["template"]) != pod.template_digest(template)


class _Place(NamedTuple):
    """What has to go from one node until a new pod fits there; the better, the smaller."""

    ready: int
    """How many of them serve."""

    needed: int
    node: str
    pods: tuple[Manifest, ...]
    """All older pods of the node, those that have to go first."""


@dataclass(frozen=True)
class Rollout:
    """A Deployment's way from its older pods to those of a template.

    Auto surges where there is room for one more pod, as of the moment when the rollout begins. Otherwise older pods go
    first, as few as make room. What was chosen stays until the end, because the new pods themselves take what was free.
    One thing changes it: a new pod that waits in vain for 30 seconds. Auto never stops a pod for nothing: if no new pod
    could start, or fewer could serve in the end than do now, the older ones stay.
    """

    wish: Wish
    wanted: int
    namespace: str
    current: Manifest | None
    template: Manifest
    observed: Observed

    def plan(self) -> Plan:
        """How to go on."""
        if self.current is None or self.wish == "Surge":
            return DRAIN_ONE if self.wish == "DrainFirst" else SURGE
        before = plan_of(self.current)
        if begins(self.current, self.template):
            return SURGE if self.wish == "Auto" and self._has_room else self._drain() or self._without_a_way(SURGE)
        if self.is_stuck or (self.wish == "DrainFirst" and not before.drains):
            return self._drain() or self._without_a_way(before)
        return before

    @cached_property
    def makes_room(self) -> bool:
        """Whether a new pod that finds no room will have that of an older one."""
        if any(pod.is_placed(one) and self._is_leaving(one) for one in self.observed.pods):
            return True
        waits = any(map(self._waits_for_room, self.observed.pods)) or pod.exceeds_quota(self.current or {})
        return self.wish != "Surge" and waits and bool(self.older) and self._drain() is not None

    @property
    def is_stuck(self) -> bool:
        """Whether a new pod has waited in vain for long enough, and nothing is on its way that would help."""
        if not self.older or any(self._is_leaving(one) or self._is_starting(one) for one in self.observed.pods):
            return False
        return self._waits() or self._is_refused()

    @cached_property
    def older(self) -> list[Manifest]:
        """Pods that are to be replaced; first those that cost nothing."""
        found = [one for one in self.observed.pods if not self.is_new(one) and not pod.is_terminating(one)]
        return sorted(found, key=lambda one: (pod.is_ready(one), pod.is_placed(one)))

    @cached_property
    def candidate(self) -> Candidate:
        """The pod that the template makes."""
        return Candidate.of(self.namespace, self.template)

    def is_new(self, one: Manifest) -> bool:
        """Whether a pod is of the template."""
        return pod.template_digest(one) == pod.template_digest(self.template)

    # what goes on

    def _is_leaving(self, one: Manifest) -> bool:
        """Whether it is about to free what it has; one that should be gone by now is on a node that is lost."""
        return pod.is_terminating(one) and pod.overdue(one, self.observed.at) < PATIENCE

    def _is_starting(self, one: Manifest) -> bool:
        """Whether a new pod found a node and does not serve yet: the next step is its turn, not ours."""
        return self.is_new(one) and not pod.is_terminating(one) and pod.is_placed(one) and not pod.is_ready(one)

    def _waits_for_room(self, one: Manifest) -> bool:
        """Whether it is a new pod that no node takes, for a reason that may go with an older pod."""
        said = pod.condition(one, "PodScheduled").get("message", "")
        return self.is_new(one) and pod.is_unschedulable(one) and bool(_CURABLE.search(said))

    def _waits(self) -> bool:
        waiting = filter(self._waits_for_room, self.observed.pods)
        return any(pod.condition_age(one, "PodScheduled", self.observed.at) >= PATIENCE for one in waiting)

    def _is_refused(self) -> bool:
        return (
            pod.exceeds_quota(self.current or {})
            and pod.condition_age(self.current or {}, "ReplicaFailure", self.observed.at) >= PATIENCE
        )

    # what would be

    @property
    def _has_room(self) -> bool:
        """Where we may not look there is room until the scheduler says otherwise."""
        return self.observed.room is None or self.observed.room.takes(self.candidate)

    def _without_a_way(self, before: Plan) -> Plan:
        """No older pod's going would help. Who wants it anyway gets it."""
        return DRAIN_ONE if self.wish == "DrainFirst" and not before.drains else before

    def _drain(self) -> Plan | None:
        """The fewest that have to go; None if nobody's going helps, or helps enough."""
        places = self._places()
        gone = self._gone(places)
        if not gone or (self.wish == "Auto" and self._serve_in_the_end() < min(self.wanted, self._ready)):
            return None
        going = {pod.name(one) for one in gone}
        staying = sum(pod.is_ready(one) and pod.name(one) not in going for one in self.observed.pods)
        return Plan(0, max(1, self.wanted - staying), self._order(places))

    @cached_property
    def _ready(self) -> int:
        return sum(map(pod.is_ready, self.observed.pods))

    def _gone(self, places: list[_Place]) -> list[Manifest]:
        """The pods whose going makes room for one new: of one node as far as nodes are short, more as quotas are."""
        room = self.observed.room
        if room is None:
            return self.older[:1]
        if not self._room_without(self.older).takes(self.candidate):
            return []
        first: list[Manifest] = []
        if places and not any(room.fits(node, self.candidate) for node in room.nodes):
            first = list(places[0].pods[: places[0].needed])
        order = [*first, *(one for one in self.older if one not in first)]
        counts = range(max(len(first), 1), len(order) + 1)
        return next(order[:count] for count in counts if self._room_without(order[:count]).takes(self.candidate))

    def _places(self) -> list[_Place]:
        """Nodes where a new pod fits once some or all of the older ones are gone, the best first."""
        room = self.observed.room
        on_node: dict[str, list[Manifest]] = defaultdict(list)
        for one in self.older:
            on_node[one["spec"].get("nodeName", "")].append(one)
        found = []
        for node in room.nodes if room is not None else ():
            pods = on_node.get(node.name, [])
            for count in range(1, len(pods) + 1):
                left = Room((node,)).without(_asked(pods[:count]), self.namespace).nodes[0]
                if self._others(pods[:count]).fits(left, self.candidate):
                    found.append(_Place(sum(map(pod.is_ready, pods[:count])), count, node.name, tuple(pods)))
                    break
        return sorted(found, key=lambda place: place[:3])

    def _others(self, gone: list[Manifest]) -> Room:
        """The room as anti-affinity sees it; without any it is enough to know the node."""
        room = self.observed.room
        assert room is not None, "who asks has looked at its nodes"
        return self._room_without(gone) if room.is_shy or self.candidate.is_choosy else Room(())

    def _room_without(self, gone: list[Manifest]) -> Room:
        assert self.observed.room is not None, "who asks has looked at it"
        return self.observed.room.without(_asked(gone), self.namespace)

    def _serve_in_the_end(self) -> int:
        """How many new pods could run if all older ones were gone."""
        there = sum(
            self.is_new(one) and pod.is_placed(one) and not pod.is_terminating(one) for one in self.observed.pods
        )
        if self.observed.room is None:
            return self.wanted
        return there + self._room_without(self.older).most(self.candidate, max(self.wanted - there, 0))

    def _order(self, places: list[_Place]) -> tuple[str, ...]:
        """Of the older pods on nodes, those first whose going helps soonest; nothing if all help alike."""
        useful = sum(len(place.pods) for place in places)
        if all(place.needed == 1 for place in places) and useful == sum(map(pod.is_placed, self.older)):
            return ()
        return tuple(pod.name(one) for place in places for one in place.pods)


def _asked(pods: list[Manifest]) -> list[tuple[str, Manifest]]:
    return [(pod.name(one), one["spec"]) for one in pods]
