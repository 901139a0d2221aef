"""Surge or drain first."""

from typing import Any

import pytest

from omega_operator import rollout
from omega_operator.capacity import nodes_of
from omega_operator.observed import Observed

Json = dict[str, Any]
SURGE, DRAIN_FIRST = {"maxSurge": 1}, {"maxSurge": 0}


def template(digest: str) -> Json:
    """A pod template of 4 GPUs."""
    spec = {"containers": [{"resources": {"limits": {"gpu": "4"}}}]}
    return {"metadata": {"annotations": {"omegavlm.io/template": digest}}, "spec": spec}


def current(strategy: Json, digest: str = "old") -> Json:
    """A Deployment that exists."""
    return {"spec": {"strategy": {"rollingUpdate": strategy}, "template": template(digest)}}


def free(gpus: int) -> Observed:
    """A world with one node that has so many free GPUs."""
    status = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"gpu": str(gpus), "pods": "9"}}
    return Observed(nodes=nodes_of([{"metadata": {"name": "n"}, "spec": {}, "status": status}], []))


def pods(*digests: str) -> Observed:
    """A world with pods of these templates; none of them finds a node. A digest with a - is of a pod that is ending."""
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    made = [
        {
            "metadata": {"name": "p", "annotations": {"omegavlm.io/template": digest.rstrip("-")}}
            | ({"deletionTimestamp": "now"} if digest.endswith("-") else {}),
            "spec": {},
            "status": {"conditions": [unschedulable]},
        }
        for digest in digests
    ]
    return Observed(pods=tuple(made))


@pytest.mark.parametrize(
    ("wish", "deployment", "observed", "choice"),
    [
        ("Surge", current(DRAIN_FIRST), free(0), "Surge"),
        ("DrainFirst", current(SURGE), free(8), "DrainFirst"),
        ("Auto", None, Observed(), "Surge"),
        ("Auto", current(SURGE), free(4), "Surge"),
        ("Auto", current(DRAIN_FIRST), free(4), "Surge"),
        ("Auto", current(SURGE), free(3), "DrainFirst"),
        ("Auto", current(SURGE), Observed(nodes=()), "DrainFirst"),
        ("Auto", current(DRAIN_FIRST), Observed(nodes=None), "DrainFirst"),
        ("Auto", current(SURGE, "new"), free(0), "Surge"),
        ("Auto", current(DRAIN_FIRST, "new"), free(8), "DrainFirst"),
        ("Auto", current(SURGE, "new"), pods("old", "new"), "DrainFirst"),
        ("Auto", current(SURGE, "new"), pods("new", "new"), "Surge"),
        ("Auto", current(SURGE, "new"), pods("old-", "new"), "Surge"),
        ("Auto", current(SURGE, "new"), pods("old", "new-"), "Surge"),
        ("Surge", current(SURGE, "new"), pods("old", "new"), "Surge"),
    ],
)
def test_choice(wish: Any, deployment: Json | None, observed: Observed, choice: str) -> None:
    """The wish of the resource; for Auto the free GPUs when a rollout begins, and a stuck pod ever after."""
    assert rollout.choose(wish, deployment, template("new"), observed) == choice


def test_strategies_in_kubernetes_words() -> None:
    """Surge never has fewer pods than wanted, drain first never more."""
    assert rollout.manifest("Surge")["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert rollout.manifest("DrainFirst")["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
