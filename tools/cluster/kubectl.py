"""The cluster's API, through kubectl as its administrator."""

from __future__ import annotations

import json
from typing import Any

from cluster.go_tools import binary
from cluster.places import PLACES
from cluster.shell import ClusterError, run


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """The standard output of ``kubectl ARGUMENTS``.

    Raises:
        ClusterError: if it fails.
    """
    return run(binary("kubectl"), f"--kubeconfig={PLACES.kubeconfig}", *arguments, stdin=stdin, timeout=60)


def apply(manifest: dict[str, Any]) -> None:
    """Create or change the objects of ``manifest``."""
    kubectl("apply", "--filename=-", stdin=json.dumps(manifest))


def answers(path: str) -> bool:
    """Whether the API server answers a GET of ``path`` with success."""
    try:
        kubectl("get", "--raw", path)
    except ClusterError:
        return False
    return True


def find(*arguments: str) -> dict[str, Any] | None:
    """The one object that ``kubectl get ARGUMENTS`` names; None if there is none."""
    found = kubectl("get", "--ignore-not-found", "--output=json", *arguments)
    return json.loads(found) if found else None
