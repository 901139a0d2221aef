"""What a pod tells about itself. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from omega_operator import labels
from omega_operator.kinds import Manifest


def name(pod: Manifest) -> str:
    """The pod's name."""
    return str(pod["metadata"]["name"])


def job_of(pod: Manifest) -> str | None:
    """The Job that made it."""
    found: str | None = (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name")
    return found


def is_terminating(pod: Manifest) -> bool:
    """Whether its deletion has begun."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_ready(pod: Manifest) -> bool:
    """Whether it takes requests."""
    return not is_terminating(pod) and condition(pod, "Ready").get("status") == "True"


def is_running(pod: Manifest) -> bool:
    """Whether its server process can be asked."""
    return (
        not is_terminating(pod)
        and bool(pod.get("status", {}).get("podIP"))
        and any("running" in one.get("state", {}) for one in _statuses(pod))
    )


def is_starting(pod: Manifest) -> bool:
    """Whether a node has it, but none of its containers has begun: its events tell why."""
    states = [one.get("state", {}) for one in _statuses(pod)]
    return bool(pod["spec"].get("nodeName")) and all(
        one.get("waiting", {}).get("reason") in {"ContainerCreating", "PodInitializing"} for one in states
    )


def is_placed(pod: Manifest) -> bool:
    """Whether it has a node."""
    return bool(pod["spec"].get("nodeName"))


def is_unschedulable(pod: Manifest) -> bool:
    """Whether the scheduler found no node for it."""
    scheduled = condition(pod, "PodScheduled")
    return not is_terminating(pod) and scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"


def condition(manifest: Manifest, kind: str) -> dict[str, Any]:
    """One of the conditions of a pod or a Deployment; empty if it has none of this type."""
    conditions = manifest.get("status", {}).get("conditions") or ()
    return next((dict(one) for one in conditions if one["type"] == kind), {})


def condition_age(manifest: Manifest, kind: str, at: datetime) -> float:
    """Seconds for which one of an object's conditions has been as it is; 0 if it has none of this type."""
    since = condition(manifest, kind).get("lastTransitionTime")
    return _seconds(since, at) if since else 0.0


def seconds_to_start(pod: Manifest) -> float | None:
    """How long a ready pod took from its node to its first answer, at most; None if it does not tell."""
    scheduled, ready = (condition(pod, kind) for kind in ("PodScheduled", "Ready"))
    if ready.get("status") != "True" or not (scheduled.get("lastTransitionTime") and ready.get("lastTransitionTime")):
        return None
    return _seconds(scheduled["lastTransitionTime"], datetime.fromisoformat(ready["lastTransitionTime"]))


def overdue(pod: Manifest, at: datetime) -> float:
    """Seconds since a pod whose deletion has begun should have been gone; negative while it has time."""
    return _seconds(pod["metadata"]["deletionTimestamp"], at)


def exceeds_quota(deployment: Manifest) -> bool:
    """Whether a quota refuses a Deployment's pods."""
    failed = condition(deployment, "ReplicaFailure")
    return failed.get("status") == "True" and "exceeded quota" in failed.get("message", "")


def waiting(pod: Manifest) -> Iterator[tuple[str, str]]:
    """Reason and message of each container that waits."""
    for status in _statuses(pod):
        state = status.get("state", {}).get("waiting")
        if state:
            yield state.get("reason", ""), state.get("message", "")


def failure(pod: Manifest) -> dict[str, Any] | None:
    """How a container ended the last time, whether or not it runs again: exitCode, reason, message. None if well.

    Until the pod is ready it stays the answer to why it does not serve: one that came and went with each start of a crash
    loop would be told again and again.
    """
    return next(filter(None, map(_end, _statuses(pod))), None)


def template_digest(template: Manifest) -> str | None:
    """The digest in a pod or a pod template; None for one that we did not make."""
    annotations = template["metadata"].get("annotations") or {}
    found: str | None = annotations.get(labels.TEMPLATE)
    return found


def nudges(pod: Manifest, config: str) -> int:
    """How often it was nudged to read this configuration."""
    annotations = pod["metadata"].get("annotations") or {}
    if annotations.get(labels.CONFIG) != config:
        return 0
    said = str(annotations.get(labels.NUDGES))
    return int(said) if said.isdecimal() else 1


def deletion_cost(pod: Manifest) -> str | None:
    """What its going costs, for the controller that chooses among pods."""
    found: str | None = (pod["metadata"].get("annotations") or {}).get(labels.DELETION_COST)
    return found


def essence(pod: Manifest) -> Manifest:
    """What the operator keeps of a pod."""
    head, spec, status = pod["metadata"], pod.get("spec", {}), pod.get("status", {})
    kept = (
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "labels",
        "annotations",
        "creationTimestamp",
        "deletionTimestamp",
    )
    return {
        "metadata": {field: head[field] for field in kept if field in head},
        "spec": {
            **{field: spec[field] for field in ("nodeName", "overhead") if field in spec},
            **{field: _resources(spec[field]) for field in ("containers", "initContainers") if field in spec},
        },
        "status": {
            field: status[field] for field in ("phase", "podIP", "conditions", "containerStatuses") if field in status
        },
    }


def _resources(containers: list[Manifest]) -> list[Manifest]:
    """What containers ask for, which tells what is free once they are gone."""
    kept = ("resources", "restartPolicy")
    return [{field: one[field] for field in kept if field in one} for one in containers]


def _seconds(since: str, at: datetime) -> float:
    return (at - datetime.fromisoformat(since)).total_seconds()


def _end(status: Manifest) -> dict[str, Any] | None:
    """How a container ended now, or before it began anew; None if well."""
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
    return dict(ended) if ended and ended.get("exitCode") != 0 else None


def _statuses(pod: Manifest) -> list[Manifest]:
    return pod.get("status", {}).get("containerStatuses") or []
