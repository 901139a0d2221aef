"""Conditions in the form that Kubernetes tools know. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from omega_operator.kinds import Manifest

Verdict = Literal["True", "False", "Unknown"]


@dataclass(frozen=True)
class Judgement:
    """One condition, before it is known when it began."""

    type: str
    status: Verdict
    reason: str
    message: str


@dataclass(frozen=True)
class Transition:
    """A condition that changed, to be told as an Event."""

    type: str
    status: Verdict
    reason: str
    message: str
    is_warning: bool
    since: str
    """When the verdict before it began; empty if there was none."""


def dated(judgements: Iterable[Judgement], before: Manifest, generation: int, now: datetime) -> list[dict[str, Any]]:
    """The conditions of a status; one whose verdict is what it was keeps its time.

    Args:
        judgements: what is the case now.
        before: the status so far.
        generation: of the resource that they are about.
        now: in UTC.
    """
    old = _by_type(before)
    return [
        {
            "type": one.type,
            "status": one.status,
            "reason": one.reason,
            "message": one.message,
            "observedGeneration": generation,
            "lastTransitionTime": _since(old.get(one.type), one.status, now),
        }
        for one in judgements
    ]


def transitions(before: Manifest, after: Manifest) -> list[Transition]:
    """What changed between two statuses in a way that a person would want to be told."""
    old = _by_type(before)
    return [
        Transition(
            one["type"], one["status"], one["reason"], one["message"], _is_bad(one), _began(old.get(one["type"]))
        )
        for one in after.get("conditions", ())
        if _is_news(old.get(one["type"]), one)
    ]


def _by_type(status: Manifest) -> dict[str, dict[str, Any]]:
    return {one["type"]: one for one in status.get("conditions") or ()}


def _since(old: dict[str, Any] | None, verdict: Verdict, now: datetime) -> str:
    if old is not None and old["status"] == verdict:
        return str(old["lastTransitionTime"])
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _began(old: dict[str, Any] | None) -> str:
    return str(old["lastTransitionTime"]) if old is not None else ""


def _is_news(old: dict[str, Any] | None, new: dict[str, Any]) -> bool:
    """What is bad, and what is good; not what is on its way, nor what was never otherwise."""
    if old is not None and (old["status"], old["reason"]) == (new["status"], new["reason"]):
        return False
    if new["type"] == "Stalled":
        return new["status"] == "True" or (old is not None and old["status"] == "True")
    return new["type"] != "Reconciling" and (new["status"] == "True" or _is_bad(new))


def _is_bad(one: dict[str, Any]) -> bool:
    if one["type"] == "Stalled":
        return bool(one["status"] == "True")
    return bool(one["status"] == "False") and one["reason"] in {"ConfigRejected", "DownloadFailed", "NoProgress"}
