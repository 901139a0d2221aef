"""How pods are replaced: start the new one first, or stop the old one first. Pure."""

from typing import Any, Literal

from omega_operator import pod
from omega_operator.capacity import fits
from omega_operator.kinds import Manifest
from omega_operator.observed import Observed

Strategy = Literal["Surge", "DrainFirst"]

_FIELDS: dict[Strategy, dict[str, int]] = {
    "Surge": {"maxSurge": 1, "maxUnavailable": 0},
    "DrainFirst": {"maxSurge": 0, "maxUnavailable": 1},
}


def manifest(strategy: Strategy) -> dict[str, Any]:
    """The strategy in a Deployment's words."""
    return {"type": "RollingUpdate", "rollingUpdate": _FIELDS[strategy]}


def choose(
    wish: Literal["Auto", "Surge", "DrainFirst"], current: Manifest | None, template: dict[str, Any], observed: Observed
) -> Strategy:
    """The strategy for a Deployment with this pod template.

    Auto decides when a rollout begins, from what is free on the nodes at that moment, and keeps to it, because the surge
    pod itself takes what was free. One thing changes its mind: a surge pod that no node takes.
    """
    if wish != "Auto":
        return wish
    before = strategy_of(current)
    if _is_stuck(observed, pod.template_digest(template)):
        return "DrainFirst"
    if not begins(current, template) or observed.nodes is None:
        return before
    return "Surge" if any(fits(node, template["spec"]) for node in observed.nodes) else "DrainFirst"


def begins(current: Manifest | None, template: dict[str, Any]) -> bool:
    """Whether applying this template replaces the pods of a Deployment."""
    return current is not None and pod.template_digest(current["spec"]["template"]) != pod.template_digest(template)


def strategy_of(current: Manifest | None) -> Strategy:
    """How a Deployment replaces its pods now."""
    update = (current or {}).get("spec", {}).get("strategy", {}).get("rollingUpdate", {})
    return "DrainFirst" if update.get("maxSurge") == 0 else "Surge"


def _is_stuck(observed: Observed, newest: str | None) -> bool:
    """Whether a pod of this template waits in vain for room beside older ones, which would give it theirs."""
    waits = any(pod.is_unschedulable(one) and pod.template_digest(one) == newest for one in observed.pods)
    holds = any(not pod.is_terminating(one) and pod.template_digest(one) != newest for one in observed.pods)
    return waits and holds
