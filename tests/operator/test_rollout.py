"""Surge or drain first, how many, and who goes first."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from omega_operator.capacity import nodes_of
from omega_operator.observed import Observed
from omega_operator.quota import quotas_of
from omega_operator.rollout import DRAIN_ONE, SURGE, Plan, Rollout, plan_of
from omega_operator.room import Room

Json = dict[str, Any]
NOW = datetime(2030, 1, 1, tzinfo=UTC)
NO_GPU = "0/1 nodes are available: 1 Insufficient gpu."
HOSTNAME = "kubernetes.io/hostname"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def ago(seconds: float) -> str:
    """A time before now, as the API server writes it."""
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def template(digest: str, gpus: int = 4, **spec: Any) -> Json:
    """A pod template."""
    containers = [{"resources": {"limits": {"gpu": str(gpus)}}}]
    annotations = {"omegavlm.io/template": digest}
    return {
        "metadata": {"labels": {"app": "vl"}, "annotations": annotations},
        "spec": {"containers": containers} | spec,
    }


def current(plan: Plan, digest: str = "old", **status: Any) -> Json:
    """A Deployment that exists."""
    return {"spec": {"strategy": plan.manifest(), "template": template(digest)}, "status": status}


def pod(name: str, digest: str = "old", *, node: str | None = "n1", gpus: int = 4, **short: Any) -> Json:
    """A pod; in short: ready, waits (seconds for which no node takes it), said (why), leaves (seconds until it must be gone)."""
    made = template(digest, gpus)
    made["metadata"] |= {"name": name, "namespace": "ns"}
    ready = short.get("ready", node is not None)
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": ago(99)}]
    if node is None:
        unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        waits = {"lastTransitionTime": ago(short.get("waits", 30)), "message": short.get("said", NO_GPU)}
        conditions.append(unschedulable | waits)
    else:
        made["spec"]["nodeName"] = node
    if "leaves" in short:
        made["metadata"]["deletionTimestamp"] = ago(-short["leaves"])
    return made | {"status": {"conditions": conditions}}


def world(pods: list[Json], sizes: list[int], taken: Json | None = None, quotas: list[Json] | None = None) -> Observed:
    """Nodes n1, n2, ... of these sizes, GPUs on them that others have taken, and our pods."""
    nodes = [
        {
            "metadata": {"name": f"n{index}", "labels": {HOSTNAME: f"n{index}"}},
            "spec": {},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "allocatable": {"gpu": str(size), "pods": "9"},
            },
        }
        for index, size in enumerate(sizes, start=1)
    ]
    others = [pod(f"other-{node}", "theirs", node=node, gpus=gpus) for node, gpus in (taken or {}).items()]
    room = Room(nodes_of(nodes, [*pods, *others]), quotas_of(quotas or [], ""))
    return Observed(pods=tuple(pods), room=room, at=NOW)


def plan(observed: Observed, now: Json | None, wish: Any = "Auto", wanted: int = 1, gpus: int = 4, **spec: Any) -> Plan:
    """How to go on to a template of so many GPUs."""
    return Rollout(wish, wanted, "ns", now, template("new", gpus, **spec), observed).plan()


A, B = pod("a"), pod("b")


@pytest.mark.parametrize(
    ("now", "observed", "wanted", "expected"),
    [
        (None, Observed(), 1, SURGE),
        (current(SURGE), world([A], [8]), 1, SURGE),
        (current(DRAIN_ONE), world([A], [8]), 1, SURGE),
        (current(SURGE), world([A], [7]), 1, DRAIN_ONE),
        (current(SURGE), world([A], [4]), 1, DRAIN_ONE),
        (current(SURGE), world([A, B], [8]), 2, DRAIN_ONE),
        (current(SURGE), Observed(pods=(A,)), 1, SURGE),
        (current(SURGE), world([], [0]), 0, SURGE),
        # A pod that never found a node holds nothing: the one that serves has to go, and is the only one.
        (current(SURGE), world([A, pod("b", node=None)], [4]), 2, Plan(0, 2)),
        # One that does not serve goes first, and costs nothing.
        (current(SURGE), world([A, pod("b", ready=False)], [8]), 2, DRAIN_ONE),
        # The other one is on a node that takes no pods any more: its place would be lost.
        (current(SURGE), world([A, pod("b", node="cordoned")], [4]), 2, SURGE),
    ],
)
def test_when_a_rollout_begins(now: Json | None, observed: Observed, wanted: int, expected: Plan) -> None:
    """Surge where one more pod fits, else as many go first as make room."""
    assert plan(observed, now, wanted=wanted) == expected


def test_what_is_chosen_stays() -> None:
    """The new pods themselves take what was free, and give back what was not: that is no reason to change."""
    starting = pod("b", "new", ready=False)
    assert plan(world([A, starting], [8]), current(SURGE, "new")) == SURGE
    assert plan(world([A, starting], [16]), current(DRAIN_ONE, "new")) == DRAIN_ONE
    assert plan(world([pod("b", "new")], [8]), current(Plan(0, 2), "new")) == Plan(0, 2)


@pytest.mark.parametrize(
    ("others", "turns"),
    [
        ([A, pod("b", "new", node=None, waits=30)], True),
        ([A, pod("b", "new", node=None, waits=29)], False),
        ([pod("b", "new", node=None, waits=99)], False),
        ([A, pod("b", "new", node=None, waits=99, said="1 node(s) had untolerated taint {gpu: }.")], False),
        ([A, pod("b", "new", node=None, waits=99, leaves=5)], False),
        ([A, pod("c", leaves=5), pod("b", "new", node=None, waits=99)], False),
        ([A, pod("c", node="lost", leaves=-31), pod("b", "new", node=None, waits=99)], True),
        ([A, pod("c", "new", ready=False), pod("b", "new", node=None, waits=99)], False),
    ],
    ids=["long", "not long", "no older", "not by going", "itself", "another leaves", "lost node", "another starts"],
)
def test_a_pod_that_waits_in_vain(others: list[Json], turns: bool) -> None:
    """After half a minute it gets the room of an older one, if that helps and nothing else is on its way."""
    assert plan(world(others, [4]), current(SURGE, "new")) == (DRAIN_ONE if turns else SURGE)


def test_back_to_surge_for_the_next() -> None:
    """A rollout that had to drain says nothing about the next."""
    assert plan(world([A], [8]), current(DRAIN_ONE)) == SURGE


@pytest.mark.parametrize(
    ("observed", "gpus", "wanted"),
    [
        (world([A], [4]), 8, 1),
        (world([A], [8], {"n1": 4}), 8, 1),
        (world([A, B], [8]), 8, 2),
        (world([A, pod("b", node="n2")], [4, 4], {}), 5, 2),
    ],
    ids=["no such node", "others hold it", "only one would fit", "none would fit"],
)
def test_nothing_stops_for_nothing(observed: Observed, gpus: int, wanted: int) -> None:
    """If no new pod could start, or fewer could serve in the end, the older ones go on; who says DrainFirst is obeyed."""
    stuck = Observed(pods=(*observed.pods, pod("new", "new", node=None)), room=observed.room, at=NOW)
    assert plan(observed, current(SURGE), wanted=wanted, gpus=gpus) == SURGE
    assert plan(stuck, current(SURGE, "new"), wanted=wanted, gpus=gpus) == SURGE
    assert plan(observed, current(SURGE), "DrainFirst", wanted, gpus).drains


def test_a_drain_that_was_too_small() -> None:
    """Where others took what an older pod left, the next one goes, if there is still something to gain."""
    waiting = pod("x", "new", node=None)
    assert plan(world([A, waiting], [4]), current(DRAIN_ONE, "new"), wanted=2) == Plan(0, 2)
    assert plan(world([A, waiting], [8], {"n1": 4}), current(DRAIN_ONE, "new"), wanted=2) == Plan(0, 2)
    assert plan(world([A, waiting], [8], {"n1": 4}), current(DRAIN_ONE, "new"), wanted=2, gpus=5) == DRAIN_ONE


def test_who_goes_first() -> None:
    """Where one older pod's going helps and another's does not, the first one goes first; two of one node if it takes two."""
    one, other = pod("a", node="n1"), pod("b", node="n2")
    fragmented = world([one, other], [12, 8], {"n1": 8, "n2": 2})
    assert plan(fragmented, current(SURGE), wanted=2, gpus=4) == Plan(0, 1)
    assert plan(fragmented, current(SURGE), "DrainFirst", wanted=2, gpus=6) == Plan(0, 1, ("b",))
    small = [pod(name, node=node, gpus=2) for name, node in (("a", "n1"), ("b", "n2"), ("c", "n2"))]
    pairs = world(small, [2, 4])
    assert plan(pairs, current(SURGE), "DrainFirst", wanted=3, gpus=4) == Plan(0, 2, ("b", "c"))


def test_anti_affinity() -> None:
    """Pods that must not share a node leave no room for one more where each node has one."""
    rule = [{"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": {"app": "vl"}}}]
    apart = {"podAntiAffinity": {REQUIRED: rule}}
    pods = [pod("a", node="n1"), pod("b", node="n2")]
    assert plan(world(pods, [8, 8]), current(SURGE), wanted=2) == SURGE
    assert plan(world(pods, [8, 8]), current(SURGE), wanted=2, affinity=apart) == DRAIN_ONE
    assert plan(world(pods, [8, 8, 8]), current(SURGE), wanted=2, affinity=apart) == SURGE


def quota(hard: int, used: int) -> Json:
    """A quota of GPUs."""
    return {"metadata": {"name": "q"}, "status": {"hard": {"requests.gpu": hard}, "used": {"requests.gpu": used}}}


def refused(seconds: float) -> Json:
    """The condition of a Deployment whose pods a quota refuses."""
    message = 'pods "vl-5" is forbidden: exceeded quota: q, requested: requests.gpu=4'
    failed = {"type": "ReplicaFailure", "status": "True", "lastTransitionTime": ago(seconds), "message": message}
    return {"conditions": [failed]}


def test_quota() -> None:
    """A quota is room, too: known when the rollout begins, or told by its refusal."""
    full = world([A], [8], quotas=[quota(4, 4)])
    assert plan(full, current(SURGE)) == DRAIN_ONE
    assert plan(world([A], [8], quotas=[quota(8, 4)]), current(SURGE)) == SURGE
    assert plan(full, current(SURGE, "new", **refused(29))) == SURGE
    assert plan(full, current(SURGE, "new", **refused(30))) == DRAIN_ONE
    # Pods that wait count in a quota, and go without a loss.
    waiting = pod("b", node=None)
    assert plan(world([A, waiting], [8], quotas=[quota(8, 8)]), current(SURGE), wanted=2) == DRAIN_ONE


def test_where_we_may_not_look() -> None:
    """Without the right to see nodes the scheduler's word alone decides."""
    waiting = pod("b", "new", node=None)
    assert plan(Observed(pods=(A, waiting), at=NOW), current(SURGE, "new")) == DRAIN_ONE


@pytest.mark.parametrize(
    ("wish", "now", "expected"),
    [
        ("Surge", current(DRAIN_ONE), SURGE),
        ("Surge", current(DRAIN_ONE, "new"), SURGE),
        ("DrainFirst", None, DRAIN_ONE),
        ("DrainFirst", current(SURGE), DRAIN_ONE),
        ("DrainFirst", current(SURGE, "new"), DRAIN_ONE),
        ("DrainFirst", current(DRAIN_ONE, "new"), DRAIN_ONE),
    ],
)
def test_who_wants_it_gets_it(wish: Any, now: Json | None, expected: Plan) -> None:
    """The resource's own strategy is kept to, whatever is free."""
    for size in (4, 16):
        assert plan(world([A, pod("b", "new", node=None)], [size]), now, wish) == expected


def test_plans_in_kubernetes_words() -> None:
    """Surge never has fewer pods than wanted, drain first never more; numbers of somebody else's are read as a surge."""
    assert SURGE.manifest()["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert DRAIN_ONE.manifest()["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    for one in (SURGE, DRAIN_ONE, Plan(0, 3)):
        assert plan_of(current(one)) == one
    assert plan_of({"spec": {"strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}}}) == SURGE
    assert plan_of({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"}}}}) == DRAIN_ONE
