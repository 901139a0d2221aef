"""What to do about a condition's reason, and about what a server said last. advice.json is generated from docs/troubleshooting.md."""

import json
from functools import cache
from importlib import resources
from typing import Any

NO_STATUS = (
    "The operator has not seen it. Does its pod run, and does it serve this namespace? "
    "kubectl get pods --all-namespaces --selector=app.kubernetes.io/name=omega-vlm,app.kubernetes.io/component=operator "
    "shows it; kubectl logs of that pod says more."
)
UNSEEN = "Wait a moment. If it stays so, the operator's log says why."

Advice = dict[str, str]


def of(condition: str, reason: str) -> Advice | None:
    """What a reason `means` and what to `do`; the latter is empty where there is nothing to do. None for an unknown one."""
    found: Advice | None = _all()["reasons"].get(condition, {}).get(reason)
    return found


def about(words: str) -> str | None:
    """What to do about the last words of a server; None for words that nobody has explained."""
    found: dict[str, str] = _all()["lastWords"]
    return next((do for said, do in found.items() if said in words), None)


@cache
def _all() -> dict[str, Any]:
    text = resources.files("omega_server.kubectl").joinpath("advice.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found
