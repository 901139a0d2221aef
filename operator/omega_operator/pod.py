"""What a pod tells about itself. Pure."""

from collections.abc import Iterator
from typing import Any

from omega_operator import labels
from omega_operator.kinds import Manifest


def name(pod: Manifest) -> str:
    """The pod's name."""
    return str(pod["metadata"]["name"])


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


def is_unschedulable(pod: Manifest) -> bool:
    """Whether the scheduler found no node for it."""
    scheduled = condition(pod, "PodScheduled")
    return not is_terminating(pod) and scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"


def condition(pod: Manifest, kind: str) -> dict[str, Any]:
    """One of its conditions; empty if it has none of this type."""
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((dict(one) for one in conditions if one["type"] == kind), {})


def waiting(pod: Manifest) -> Iterator[tuple[str, str]]:
    """Reason and message of each container that waits."""
    for status in _statuses(pod):
        state = status.get("state", {}).get("waiting")
        if state:
            yield state.get("reason", ""), state.get("message", "")


def failure(pod: Manifest) -> dict[str, Any] | None:
    """How a container ended that is not running now: exitCode, reason, message. None if none failed."""
    for status in _statuses(pod):
        state = status.get("state", {})
        ended = state.get("terminated") or status.get("lastState", {}).get("terminated")
        if "running" not in state and ended and ended.get("exitCode") != 0:
            return dict(ended)
    return None


def template_digest(template: Manifest) -> str | None:
    """The digest in a pod or a pod template; None for one that we did not make."""
    annotations = template["metadata"].get("annotations") or {}
    found: str | None = annotations.get(labels.TEMPLATE)
    return found


def nudged_for(pod: Manifest) -> str | None:
    """The configuration that it was last nudged to read."""
    annotations = pod["metadata"].get("annotations") or {}
    found: str | None = annotations.get(labels.CONFIG)
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
        "spec": {field: spec[field] for field in ("nodeName",) if field in spec},
        "status": {
            field: status[field] for field in ("phase", "podIP", "conditions", "containerStatuses") if field in status
        },
    }


def _statuses(pod: Manifest) -> list[Manifest]:
    return pod.get("status", {}).get("containerStatuses") or []
