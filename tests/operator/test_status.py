"""What people are told: each row of tests/operator/status.yaml is a state of the world and the conditions that follow."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from omega_operator import causes, conditions
from omega_operator.desired import desired
from omega_operator.desired.config_map import digest
from omega_operator.desired.pod_template import pod_template
from omega_operator.observed import Observed
from omega_operator.settings import Settings
from omega_operator.status import announced, invalid, status
from omega_schema.resource import OmegaVLMDeployment, Status

Json = dict[str, Any]
NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
ROWS: dict[str, Json] = yaml.safe_load((Path(__file__).parent / "status.yaml").read_text())


Judge = Callable[..., Json]
_now, _later = (Observed(at=NOW + timedelta(hours=hours)) for hours in (0, 1))


@pytest.fixture
def judge(settings: Settings) -> Judge:
    """``judge(resource, observed, before) -> status``, of what there is after everything was applied."""

    def make(resource: OmegaVLMDeployment, observed: Observed = _now, before: Json | None = None) -> Json:
        wanted = desired(resource, observed, settings)
        cause = causes.refusal(resource) or causes.find(resource, observed, wanted.way)
        return status(resource, observed, wanted, cause, before or {})

    return make


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_conditions(
    row: Json,
    resource: Callable[..., OmegaVLMDeployment],
    observe: Callable[[Json], Observed],
    settings: Settings,
    judge: Judge,
) -> None:
    """Status, reason and the words that matter of each condition that the row names."""
    wanted = resource(**row.get("spec", {}))
    newest = pod_template(wanted, settings.server_image)["metadata"]["annotations"]["omegavlm.io/template"]
    made = judge(wanted, observe(_world(row, digest(wanted), newest)))
    found = {one["type"]: one for one in made["conditions"]}
    for kind, (verdict, reason, *words) in row["expect"].items():
        assert (found[kind]["status"], found[kind]["reason"]) == (verdict, reason), found[kind]
        for word in words:
            assert word in found[kind]["message"]
    for field, value in row.get("fields", {}).items():
        assert made[field] == value
    Status.model_validate(made)


@pytest.fixture
def stalled(resource: Callable[..., OmegaVLMDeployment], settings: Settings) -> Callable[[causes.Cause, Json], Json]:
    """``stalled(cause, before) -> status`` of a resource that something stands in the way of."""

    def make(cause: causes.Cause, before: Json) -> Json:
        return status(resource(), _later, desired(resource(), _later, settings), cause, before)

    return make


def test_a_condition_keeps_its_time(
    resource: Callable[..., OmegaVLMDeployment], judge: Judge, stalled: Callable[[causes.Cause, Json], Json]
) -> None:
    """LastTransitionTime moves only when the verdict does, so that nothing is written when nothing changed."""
    before = judge(resource())
    assert judge(resource(), _later, before) == before
    after = {
        one["type"]: one for one in stalled(causes.Cause("ImagePullFailed", "no such image"), before)["conditions"]
    }
    assert after["Stalled"]["lastTransitionTime"] == "2030-01-02T04:04:05Z"
    assert after["Ready"]["lastTransitionTime"] == "2030-01-02T03:04:05Z"


def test_status_of_this_generation(resource: Callable[..., OmegaVLMDeployment], judge: Judge) -> None:
    """Every condition and the status itself carry the generation that they were judged for."""
    made = judge(resource())
    assert {made["observedGeneration"], *(one["observedGeneration"] for one in made["conditions"])} == {3}


def test_what_is_announced(
    resource: Callable[..., OmegaVLMDeployment],
    observe: Callable[[Json], Observed],
    settings: Settings,
    judge: Judge,
) -> None:
    """Before older pods go it is said that they will; what pods said of their configuration stays until they are asked again."""
    pods = [{"template": "old", "ready": True, "gpus": 1, "says": "current"}]
    counts = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    row = {"nodes": [], "deployment": {"is": "old", "status": counts}, "pods": pods}
    wish = resource(rollout={"strategy": "DrainFirst"})
    seen = observe(_world(row, digest(wish), "new"))
    wanted = desired(wish, seen, settings)
    assert wanted.interrupts
    before = judge(wish, seen)
    told = announced(wish, dataclasses.replace(seen, configs={}), wanted, before)
    found = {one["type"]: (one["status"], one["reason"]) for one in told["conditions"]}
    assert (found["Ready"], found["ConfigApplied"]) == (("False", "Downtime"), ("True", "Applied"))
    assert told["config"] == before["config"]


def test_invalid_resource() -> None:
    """A resource that cannot be read is stalled, and the numbers of the pods that still serve stay."""
    made = invalid(7, "spec.gpu.count: must be of type integer", {"readyReplicas": 2, "observedGeneration": 6}, NOW)
    found = {one["type"]: (one["status"], one["reason"]) for one in made["conditions"]}
    assert found == {
        "Ready": ("False", "InvalidSpec"),
        "Reconciling": ("False", "Stalled"),
        "Stalled": ("True", "InvalidSpec"),
    }
    assert (made["observedGeneration"], made["readyReplicas"]) == (7, 2)
    assert "spec.gpu.count" in made["summary"]


def test_news(
    resource: Callable[..., OmegaVLMDeployment], judge: Judge, stalled: Callable[[causes.Cause, Json], Json]
) -> None:
    """An Event is told when something begins to stand in the way, when it is gone, and when the pods serve; once each."""
    starting = judge(resource())
    missing = stalled(causes.Cause("SecretMissing", "create it"), starting)
    other_words = stalled(causes.Cause("SecretMissing", "please"), missing)

    def told(before: Json, after: Json) -> list[tuple[str, str, bool]]:
        return [(one.type, one.reason, one.is_warning) for one in conditions.transitions(before, after)]

    assert told({}, starting) == []
    assert told(starting, missing) == [("Stalled", "SecretMissing", True)]
    assert told(missing, other_words) == []
    assert told(missing, starting) == [("Stalled", "NotStalled", False)]


@pytest.mark.parametrize(
    ("kind", "before", "after", "is_told"),
    [
        ("ConfigApplied", None, ("Unknown", "NoPods"), False),
        ("ConfigApplied", ("Unknown", "NoPods"), ("Unknown", "NoAnswer"), False),
        ("ConfigApplied", ("True", "Applied"), ("False", "Applying"), False),
        ("ConfigApplied", ("False", "Applying"), ("True", "Applied"), True),
        ("ConfigApplied", ("False", "Applying"), ("False", "ConfigRejected"), True),
        ("ModelCached", None, ("False", "Downloading"), False),
        ("ModelCached", ("False", "Downloading"), ("False", "DownloadFailed"), True),
        ("Ready", None, ("True", "Ready"), True),
        ("Ready", ("True", "Ready"), ("False", "RollingOut"), False),
        ("Reconciling", ("False", "Current"), ("True", "RollingOut"), False),
        ("Stalled", None, ("False", "NotStalled"), False),
        ("Stalled", None, ("True", "Unsupported"), True),
    ],
)
def test_what_is_news(kind: str, before: tuple[str, str] | None, after: tuple[str, str], is_told: bool) -> None:
    """What is good or bad is told, what is on its way is not."""

    def holds(state: tuple[str, str] | None) -> Json:
        if state is None:
            return {}
        began = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
        return {"conditions": [{"type": kind, "status": state[0], "reason": state[1], "message": ""} | began]}

    assert bool(conditions.transitions(holds(before), holds(after))) is is_told


def _world(row: Json, config: str, newest: str) -> Json:
    """A row in the short form of the table, written out."""
    children = list(row.get("children", []))
    if "deployment" in row:
        children.append(_deployment(row["deployment"], newest))
    pods = [_pod(index, one, config, newest) for index, one in enumerate(row.get("pods", []))]
    configs = {pod["metadata"]["name"]: pod.pop("says") for pod in pods if pod["says"] is not None}
    return row | {"children": children, "pods": pods, "configs": configs, "at": NOW}


def _deployment(short: Json, newest: str) -> Json:
    template = {"metadata": {"annotations": {"omegavlm.io/template": short.get("is", newest)}}}
    spec = {"replicas": short.get("replicas", 1), "template": template | {"spec": short.get("template", {})}}
    if drained := short.get("drainFirst"):
        spec["strategy"] = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": int(drained)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "vl", "generation": 2},
        "spec": spec,
        "status": {"observedGeneration": 2} | short.get("status", {}),
    }


def _pod(index: int, short: Json, config: str, newest: str) -> Json:
    head: Json = {"name": f"p{index}", "annotations": {"omegavlm.io/template": short.get("template", newest)}}
    if short.get("terminating"):
        head["deletionTimestamp"] = "2030-01-02T03:05:00Z"
    container = {"state": short.get("state", {"running": {}}), "lastState": short.get("lastState", {})}
    containers = [] if short.get("unschedulable") else [container]
    found = [{"type": "Ready", "status": str(bool(short.get("ready"))), "lastTransitionTime": "2030-01-02T03:02:23Z"}]
    if short.get("unschedulable"):
        found.append(
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": short["unschedulable"]}
        )
    else:
        found.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": "2030-01-02T03:01:00Z"})
    says = short.get("says")
    gpus = {"resources": {"limits": {"nvidia.com/gpu": str(short.get("gpus", 0))}}}
    return {
        "metadata": head,
        "spec": {"containers": [gpus]} | ({} if short.get("unschedulable") else {"nodeName": short.get("node", "n1")}),
        "status": {"podIP": "10.0.0.1", "conditions": found, "containerStatuses": containers},
        "says": {"hash": config} if says == "current" else says,
    }
