"""A namespace that enforces the Pod Security Standard restricted takes every pod of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from omega_operator.api import Refused
from omega_operator.kinds import POD, Manifest

CASES = Path(__file__).parents[2] / "operator" / "cases"
STRANGE = {"serviceAccountName", "priorityClassName", "runtimeClassName"}
"""Fields of a pod that name objects which this cluster has not."""


@pytest.fixture
def restricted(namespace: str, kubectl: Callable[..., str]) -> None:
    """The test's namespace enforces it."""
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")


def templates() -> Iterator[Any]:
    """The pods of all reviewed manifests."""
    for path in sorted(CASES.glob("*/expected.yaml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            if manifest and manifest["kind"] in {"Deployment", "Job"}:
                yield pytest.param(manifest["spec"]["template"], id=f"{path.parent.name}-{manifest['kind']}")


@pytest.mark.usefixtures("restricted")
@pytest.mark.parametrize("template", list(templates()))
async def test_every_reviewed_pod(api: Any, namespace: str, template: Manifest) -> None:
    """Admission takes the pod; one with more rights it refuses."""
    spec = {field: value for field, value in template["spec"].items() if field not in STRANGE}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "dry-"}, "spec": spec}
    await api.request("POST", POD.path(namespace), query={"dryRun": "All"}, body=body)
    spec["securityContext"] = {}
    with pytest.raises(Refused, match="restricted"):
        await api.request("POST", POD.path(namespace), query={"dryRun": "All"}, body=body)


@pytest.mark.usefixtures("restricted")
async def test_pods_run(world: Any, stand_in: str) -> None:
    """A server gets Ready, and the pod of a download is made."""
    await world.serve(stand_in)
    await world.create("hub", image=stand_in, model={"source": "hf://Org/Model", "cache": {"size": "1Gi"}})
    await world.until_condition("Ready", "True", "Ready", seconds=150)

    async def downloads() -> bool:
        return any(one["metadata"]["labels"]["app.kubernetes.io/component"] == "download" for one in await world.pods())

    await world.until(downloads, 30)
