"""A small Kubernetes in memory around the operator's own decisions: seconds of a rollout take milliseconds.

The Deployment controller, the ReplicaSet controller, the quota, the scheduler and the kubelets do what theirs do, each in its
own time and in a random order. What they decide by is written anew here, so that it judges the operator rather than repeats it.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from omega_operator import causes, pod, status
from omega_operator.capacity import nodes_of
from omega_operator.desired import desired, names
from omega_operator.kinds import Ref
from omega_operator.observed import Observed
from omega_operator.quota import quotas_of
from omega_operator.rollout import PATIENCE
from omega_operator.room import Room
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment
from rollouts.judge import Ending
from rollouts.states import GPU, HOSTNAME, POOL, Json, State, spec

START = datetime(2030, 1, 1, tzinfo=UTC)
LONGEST = 3600.0
"""Seconds after which a rollout that has not ended is stuck."""

QUIET = 300.0
"""Seconds without any change after which it has ended, well or not."""

SETTINGS = Settings(server_image="omega-server:1", pod_name="operator-0")
DEPLOYMENT = names.deployment("vl")


@dataclass
class ReplicaSet:
    """The pods of one template."""

    digest: str
    template: Json
    born: int
    replicas: int = 0
    refused_since: float | None = None
    tries: int = 0
    next_try: float = 0.0
    seen: str | None = None
    """The Deployment's annotation as it was handed on last."""


@dataclass
class Told:
    """What was written into the status, and when."""

    at: float
    reason: str
    stalled: str
    generation: int


@dataclass
class Simulation:
    """One state of the cluster, and what becomes of it."""

    state: State
    now: float = 0.0
    pods: list[Json] = field(default_factory=list)
    sets: list[ReplicaSet] = field(default_factory=list)
    deployment: Json | None = None
    written: Json = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    fewest: int = 0
    """Pods that served at the worst moment since the change."""

    undeclared: list[str] = field(default_factory=list)
    """Moments at which nothing served without a word about it before."""

    def __post_init__(self) -> None:
        self.dice = random.Random(self.state.number)
        self.counter = 0
        self.generation = 1
        self.shape = self.state.before
        self.resource = self._resource()
        self.look_at = 0.0
        self.timers: dict[str, float] = {}
        self.changed_at = 0.0
        self.is_dirty = True
        self.rivals: list[Json] = []
        self.has_changed = False
        self.nodes = [_node(index, one) for index, one in enumerate(self.state.machines)]
        self.others = [
            _other(f"other-{index}-{number}", f"n{index}", gpus)
            for index, one in enumerate(self.state.machines)
            for number, gpus in enumerate(one.taken)
        ]

    # what is asked of it

    def run(self) -> None:
        """Bring up the old pods, make the change, and go on until nothing happens any more."""
        self._until_quiet()
        self.serving_before = self._serving()
        self.shape, self.generation = self.state.after, self.generation + 1
        self.resource = self._resource()
        self.has_changed, self.fewest = True, self.serving_before
        self.could_keep_one = self.can_keep_one()
        self._touch()
        if self.state.rival:
            self.timers["rival"] = self.now + self.dice.uniform(0, 40)
        self._until_quiet()

    @property
    def condition(self) -> dict[str, Json]:
        """The conditions that were written last."""
        return {one["type"]: one for one in self.written["conditions"]}

    def ending(self) -> Ending:
        """How it ended, for who judges it."""
        return Ending(
            state=self.state,
            conditions=self.condition,
            new=self.new_ready(),
            old=self._serving() - self.new_ready(),
            before=self.serving_before,
            fewest=self.fewest,
            possible=self.possible([]),
            could_keep_one=self.could_keep_one,
            undeclared=tuple(self.undeclared),
        )

    def new_ready(self) -> int:
        """New pods that serve."""
        return sum(pod.is_ready(one) and self._digest(one) == self._newest() for one in self.pods)

    def possible(self, ours: list[Json]) -> int:
        """How many new pods the cluster could run beside these of ours, up to the wanted number."""
        template = desired(self._of(self.state.after), Observed(), SETTINGS).way.template
        held = [*ours, *(one for one in [*self.others, *self.rivals] if pod.is_placed(one))]
        found = 0
        for node in self.nodes:
            while found < self.state.replicas and _fits(node, template, held) and self._has_quota(template, held):
                held.append(json.loads(json.dumps(template)))
                held[-1]["spec"]["nodeName"] = node["metadata"]["name"]
                held[-1]["metadata"]["namespace"] = "vision"
                found += 1
        return found

    def can_keep_one(self) -> bool:
        """Whether some single old pod, not the last one, leaves room for a new one when it goes, or there is room already."""
        ready = [one for one in self.pods if pod.is_ready(one)]
        if len(ready) < 2:
            return self.possible(self.pods) > 0
        return any(self.possible([one for one in self.pods if one is not gone]) for gone in ready)

    # the operator

    def _operator(self) -> bool:
        """One look: what it sees, what it says and does."""
        if not self.is_dirty and self.now < self.look_at:
            return False
        self.is_dirty = False
        observed = self._observe()
        wanted = desired(self.resource, observed, SETTINGS)
        (manifest,) = (one for one in wanted.manifests if one["kind"] == "Deployment")
        if wanted.interrupts:
            self._write(status.announced(self.resource, observed, wanted, self.written))
            for place, name in enumerate(wanted.plan.first):
                for one in self.pods:
                    if pod.name(one) == name:
                        one["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"] = str(
                            place - len(wanted.plan.first)
                        )
        self._apply(manifest)
        seen = replace(observed, children={DEPLOYMENT: json.loads(json.dumps(self.deployment))})
        cause = causes.find(self.resource, seen, wanted.way)
        self._write(status.status(self.resource, seen, wanted, cause, self.written))
        self.look_at = self._next_look(observed)
        return True

    def _next_look(self, observed: Observed) -> float:
        """When it looks again without being told: as the reconciler does."""
        ages = [pod.condition_age(one, "PodScheduled", observed.at) for one in self.pods if pod.is_unschedulable(one)]
        if pod.exceeds_quota(self.deployment or {}):
            ages.append(pod.condition_age(self.deployment or {}, "ReplicaFailure", observed.at))
        looks = [min(max(age / 3, 1.0), 30.0) for age in ages] + [PATIENCE - age for age in ages if age < PATIENCE]
        return self.now + min(looks, default=float("inf"))

    def _observe(self) -> Observed:
        occupants = [one for one in [*self.pods, *self.others, *self.rivals] if pod.is_placed(one)]
        room = Room(nodes_of(self.nodes, occupants), quotas_of(self._quota(), ""))
        children: dict[Ref, Json] = {}
        if self.deployment is not None:
            children[DEPLOYMENT] = json.loads(json.dumps(self.deployment))
        pods = tuple(json.loads(json.dumps(one)) for one in self.pods)
        return Observed(children=children, pods=pods, room=room, at=self._time(self.now))

    def _apply(self, manifest: Json) -> None:
        body = json.loads(json.dumps(manifest))
        if self.deployment is None:
            self.deployment = body | {"status": {}}
            self.deployment["metadata"]["generation"] = 1
            self._touch(operator=False)
            return
        notes, update = body["metadata"].get("annotations"), body["spec"]["strategy"]["rollingUpdate"]
        if (
            body["spec"]["template"] != self.deployment["spec"]["template"]
            or update != self.deployment["spec"]["strategy"]["rollingUpdate"]
        ):
            replaces = self._serving() and any(
                self._digest(one) != self._digest(body["spec"]["template"]) for one in self.pods
            )
            if self.has_changed and replaces and update["maxUnavailable"] >= body["spec"]["replicas"]:
                self._judge_downtime()
        if body["spec"] != self.deployment["spec"]:
            self.deployment["spec"] = body["spec"]
            self.deployment["metadata"]["generation"] += 1
            self._touch(operator=False)
        if notes != self.deployment["metadata"].get("annotations"):
            self.deployment["metadata"]["annotations"] = notes
            self._touch(operator=False)

    def _write(self, new: Json) -> None:
        if new == self.written:
            return
        self.written = new
        found = {one["type"]: one for one in new["conditions"]}
        ready, stalled = found["Ready"], found["Stalled"]
        stalls = stalled["reason"] if stalled["status"] == "True" else ""
        self.told.append(Told(self.now, ready["reason"], stalls, new["observedGeneration"]))

    # the Deployment controller, as in pkg/controller/deployment/rolling.go

    def _deployment_controller(self) -> bool:
        if self.deployment is None:
            return False
        if self._newest() not in [one.digest for one in self.sets]:
            template = self.deployment["spec"]["template"]
            self.sets.append(ReplicaSet(self._newest(), template, len(self.sets)))
            return self._touch(operator=False)
        return self._hand_on() or self._scale() or self._count()

    def _hand_on(self) -> bool:
        """Annotations reach the newest set, whose controller then looks at once."""
        note = (self.deployment or {})["metadata"].get("annotations", {}).get("omegavlm.io/quota")
        new = self._new_set()
        if new.seen == note:
            return False
        new.seen, new.next_try = note, self.now
        return True

    def _scale(self) -> bool:
        assert self.deployment is not None, "who scales has looked"
        body, new = self.deployment["spec"], self._new_set()
        wanted, update = body["replicas"], body["strategy"]["rollingUpdate"]
        total = sum(one.replicas for one in self.sets)
        if new.replicas < wanted and total < wanted + update["maxSurge"]:
            new.replicas += min(wanted + update["maxSurge"] - total, wanted - new.replicas)
            new.next_try = self.now
            return True
        least = wanted - min(update["maxUnavailable"], wanted)
        old = [one for one in self.sets if one is not new and one.replicas]
        room = total - least - (new.replicas - self._available(new))
        if not old or room <= 0:
            return False
        done = False
        for one in old:  # those that do not serve go first
            unhealthy = min(room, one.replicas - self._available(one))
            if unhealthy > 0:
                one.replicas, room, done = one.replicas - unhealthy, room - unhealthy, True
        spare = sum(self._available(one) for one in self.sets) - least
        for one in old:
            down = min(one.replicas, max(spare, 0))
            if down > 0:
                one.replicas, spare, done = one.replicas - down, spare - down, True
        return done

    def _count(self) -> bool:
        assert self.deployment is not None, "who counts has looked"
        new = self._new_set()
        conditions = []
        if new.refused_since is not None:
            message = 'pods "vl-x" is forbidden: exceeded quota: few, requested: requests.nvidia.com/gpu'
            since = self._stamp(new.refused_since)
            failed = {"type": "ReplicaFailure", "status": "True", "lastTransitionTime": since, "message": message}
            conditions.append(failed)
        counted = {
            "observedGeneration": self.deployment["metadata"]["generation"],
            "replicas": sum(len(self._active(one)) for one in self.sets),
            "updatedReplicas": len(self._active(new)),
            "availableReplicas": sum(self._available(one) for one in self.sets),
            "conditions": conditions,
        }
        if counted == self.deployment["status"]:
            return False
        self.deployment["status"] = counted
        return self._touch()

    # the ReplicaSet controller and the quota

    def _replica_sets(self) -> bool:
        return any(self._replica_set(one) for one in self.sets)

    def _replica_set(self, one: ReplicaSet) -> bool:
        active = self._active(one)
        if len(active) > one.replicas:
            for gone in sorted(active, key=self._rank)[: len(active) - one.replicas]:
                self._delete(gone)
            return self._touch()
        if len(active) == one.replicas or self.now < one.next_try:
            return False
        if not self._quota_allows(one.template):
            one.tries += 1
            one.next_try = self.now + min(0.005 * 2.0**one.tries, 1000.0)
            if one.refused_since is None:
                one.refused_since = self.now
                return self._touch()
            return False
        one.refused_since, one.tries = None, 0
        self._create(one)
        return self._touch()

    def _rank(self, one: Json) -> tuple[bool, bool, int, int, str]:
        """Who goes first: no node, not ready, the cheapest, where most of us are, the newest."""
        cost = int(pod.deletion_cost(one) or 0)
        here = sum(other["spec"].get("nodeName") == one["spec"].get("nodeName") for other in self.pods)
        return pod.is_placed(one), pod.is_ready(one), cost, -here, pod.name(one)

    def _create(self, one: ReplicaSet) -> None:
        self.counter += 1
        made: Json = json.loads(json.dumps(one.template))
        made["metadata"] |= {
            "name": f"vl-{self.counter:03}",
            "namespace": "vision",
            "creationTimestamp": self._stamp(self.now),
        }
        made["status"] = {"phase": "Pending", "conditions": []}
        self.pods.append(made)

    def _delete(self, one: Json) -> None:
        if not pod.is_placed(one):
            self.pods.remove(one)
            return
        if pod.is_ready(one) and self.has_changed and self._serving() == 1:
            self._judge_downtime()
        one["metadata"]["deletionTimestamp"] = self._stamp(self.now + 20)
        self.timers[f"gone {pod.name(one)}"] = self.now + self.dice.uniform(1, 20)
        self._count_serving()

    def _judge_downtime(self) -> None:
        """The last pod that serves is about to go, or may from now on: whoever asked a moment ago must have been told."""
        last = self.told[-1]
        if (last.reason, last.generation) != ("Downtime", self.generation):
            self.undeclared.append(f"at {self.now:.0f} s the status said {last.reason} {last.stalled}")

    def _quota(self) -> list[Json]:
        if self.state.quota is None:
            return []
        name = f"requests.{GPU}"
        used = sum(_gpus(one) for one in self.pods)
        status_ = {"hard": {name: str(self.state.quota)}, "used": {name: str(used)}}
        return [{"metadata": {"name": "few"}, "spec": {"hard": status_["hard"]}, "status": status_}]

    def _quota_allows(self, template: Json) -> bool:
        return self.state.quota is None or sum(map(_gpus, self.pods)) + _gpus(template) <= self.state.quota

    # the scheduler

    def _scheduler(self) -> bool:
        waiting = [one for one in [*self.pods, *self.rivals] if not pod.is_placed(one) and not pod.is_terminating(one)]
        self.dice.shuffle(waiting)
        return any(self._schedule(one) for one in waiting)

    def _schedule(self, one: Json) -> bool:
        held = [other for other in [*self.pods, *self.others, *self.rivals] if pod.is_placed(other)]
        fitting = [node for node in self.nodes if _fits(node, one, held)]
        if fitting:
            name = self.dice.choice(fitting)["metadata"]["name"]
            one["spec"]["nodeName"] = name
            one["status"]["conditions"] = [_condition("PodScheduled", "True", self._stamp(self.now))]
            self.timers[f"ready {pod.name(one)}"] = self.now + self.dice.uniform(3, 60)
            return self._touch()
        if pod.is_unschedulable(one):
            return False
        said = "; ".join({_why_not(node, one, held) for node in self.nodes})
        failed = _condition("PodScheduled", "False", self._stamp(self.now))
        one["status"]["conditions"] = [failed | {"reason": "Unschedulable", "message": said}]
        return self._touch()

    # the kubelets, and whatever else takes its time

    def _next_timer(self) -> bool:
        """Let time pass until something happens; False if nothing will."""
        due = [*self.timers.values(), self.look_at, *self._tries()]
        at = min((at for at in due if at > self.now), default=float("inf"))
        if at == float("inf"):
            return False
        self.now = at
        for name, due_at in list(self.timers.items()):
            if due_at <= self.now:
                del self.timers[name]
                self._happens(*name.split())
        return True

    def _tries(self) -> list[float]:
        return [one.next_try for one in self.sets if len(self._active(one)) < one.replicas]

    def _happens(self, what: str, name: str = "") -> None:
        if what == "rival":
            self.rivals.append(_other("rival", None, self.state.rival))
            self._touch()
        for one in [*self.pods]:
            if pod.name(one) != name:
                continue
            if what == "gone":
                self.pods.remove(one)
            elif not pod.is_terminating(one):
                one["status"]["conditions"].append(_condition("Ready", "True", self._stamp(self.now)))
            self._touch()

    # the rest

    def _until_quiet(self) -> None:
        actors = [self._operator, self._deployment_controller, self._replica_sets, self._scheduler]
        began = self.changed_at = self.now
        while self.now - self.changed_at < QUIET and self.now - began < LONGEST:
            self.dice.shuffle(actors)
            if any(actor() for actor in actors):
                continue
            if not self._next_timer():
                return

    def _touch(self, *, operator: bool = True) -> bool:
        """Something changed, which the operator hears of where it watches."""
        self.changed_at = self.now
        self.is_dirty = self.is_dirty or operator
        return True

    def _resource(self) -> OmegaVLMDeployment:
        head = {"name": "vl", "namespace": "vision", "uid": "uid-1", "generation": self.generation}
        body = {"apiVersion": "omegavlm.io/v1alpha1", "kind": "OmegaVLMDeployment", "metadata": head}
        return OmegaVLMDeployment.model_validate(body | {"spec": spec(self.shape, self.state)})

    def _newest(self) -> str:
        assert self.deployment is not None, "there is one by now"
        return self._digest(self.deployment["spec"]["template"])

    def _new_set(self) -> ReplicaSet:
        return next(one for one in self.sets if one.digest == self._newest())

    @staticmethod
    def _digest(one: Json) -> str:
        digest = pod.template_digest(one)
        assert digest is not None, "every template of ours has one"
        return digest

    def _active(self, owner: ReplicaSet) -> list[Json]:
        return [one for one in self.pods if self._digest(one) == owner.digest and not pod.is_terminating(one)]

    def _available(self, owner: ReplicaSet) -> int:
        return sum(map(pod.is_ready, self._active(owner)))

    def _serving(self) -> int:
        return sum(map(pod.is_ready, self.pods))

    def _count_serving(self) -> None:
        if self.has_changed:
            self.fewest = min(self.fewest, self._serving())

    def _has_quota(self, template: Json, held: list[Json]) -> bool:
        mine = sum(_gpus(one) for one in held if one["metadata"].get("namespace") == "vision")
        return self.state.quota is None or mine + _gpus(template) <= self.state.quota

    def _of(self, shape: Any) -> OmegaVLMDeployment:
        return self.resource.model_copy(update={"spec": self.resource.spec.model_validate(spec(shape, self.state))})

    def _time(self, seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    def _stamp(self, seconds: float) -> str:
        return self._time(seconds).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _node(index: int, machine: Any) -> Json:
    name = f"n{index}"
    taints = [{"key": "omega-closed", "effect": "NoSchedule"}] if machine.tainted else []
    return {
        "metadata": {"name": name, "labels": {HOSTNAME: name, POOL: machine.pool}},
        "spec": {"taints": taints},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "allocatable": {"cpu": "128", "memory": "1Ti", "pods": "110", GPU: str(machine.gpus)},
        },
    }


def _other(name: str, node: str | None, gpus: int) -> Json:
    """A pod of somebody else's."""
    placed = {"nodeName": node} if node else {}
    containers = [{"resources": {"limits": {GPU: str(gpus)}}}]
    return {
        "metadata": {"name": name, "namespace": "other", "annotations": {"omegavlm.io/template": "other"}},
        "spec": {"containers": containers} | placed,
        "status": {"conditions": []},
    }


def _condition(kind: str, verdict: str, since: str) -> Json:
    return {"type": kind, "status": verdict, "lastTransitionTime": since}


def _gpus(one: Json) -> int:
    return sum(int(made["resources"]["limits"].get(GPU, 0)) for made in one["spec"]["containers"])


def _fits(node: Json, one: Json, held: list[Json]) -> bool:
    return not _why_not(node, one, held)


def _why_not(node: Json, one: Json, held: list[Json]) -> str:
    """The scheduler's word about one node; empty if the pod fits."""
    if node["spec"]["taints"]:
        return "1 node(s) had untolerated taint {omega-closed: }"
    wanted = one["spec"].get("nodeSelector", {})
    if any(node["metadata"]["labels"].get(key) != value for key, value in wanted.items()):
        return "1 node(s) didn't match Pod's node affinity/selector"
    here = [other for other in held if other["spec"].get("nodeName") == node["metadata"]["name"]]
    taken = sum(map(_gpus, here))
    if taken + _gpus(one) > int(node["status"]["allocatable"][GPU]):
        return f"1 Insufficient {GPU}"
    pairs = ((one, other) for other in here if _is_ours(one) and _is_ours(other))
    if any(_is_apart(this) or _is_apart(that) for this, that in pairs):
        return "1 node(s) didn't match pod anti-affinity rules"
    return ""


def _is_ours(one: Json) -> bool:
    return one["metadata"].get("labels", {}).get("omegavlm.io/name") == "vl"


def _is_apart(one: Json) -> bool:
    return "podAntiAffinity" in one["spec"].get("affinity", {})
