"""The CustomResourceDefinition in the chart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEFINITION = "omegavlmdeployments.yaml"

Render = Callable[..., list[dict[str, Any]]]
Pick = Callable[[list[dict[str, Any]], str], dict[str, Any]]


def test_the_copy_is_current() -> None:
    """The chart's copy is the generated definition, byte for byte."""
    assert (ROOT / "charts/omega-vlm/files" / DEFINITION).read_bytes() == (ROOT / "crds" / DEFINITION).read_bytes()


def test_helm_leaves_it_as_it_is(render: Render, pick: Pick) -> None:
    """No brace, number or quote of the definition is changed by the template; only labels and annotations are added."""
    installed, declared = (
        pick(render(), "CustomResourceDefinition"),
        yaml.safe_load((ROOT / "crds" / DEFINITION).read_text()),
    )
    assert installed["spec"] == declared["spec"]
    assert installed["metadata"]["name"] == declared["metadata"]["name"]
    assert installed["metadata"]["labels"]["app.kubernetes.io/part-of"] == "omega-vlm"


def test_it_outlives_the_release_unless_told_otherwise(render: Render, pick: Pick) -> None:
    """Uninstalling the chart must not delete every resource in the cluster, unless somebody wants just that."""
    kept = pick(render(), "CustomResourceDefinition")["metadata"]["annotations"]
    assert kept["helm.sh/resource-policy"] == "keep"
    unkept = pick(render(crds={"keep": False}), "CustomResourceDefinition")["metadata"].get("annotations", {})
    assert "helm.sh/resource-policy" not in unkept


def test_it_can_come_from_elsewhere(render: Render) -> None:
    """crds.enabled=false leaves it out."""
    kinds = {manifest["kind"] for manifest in render(crds={"enabled": False})}
    assert "CustomResourceDefinition" not in kinds
    assert "Deployment" in kinds
