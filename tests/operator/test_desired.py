"""The children of whole resources, compared with manifests that a reviewer reads: tests/operator/cases/*/."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from omega_operator.desired import desired
from omega_operator.observed import Observed
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment

CASES = Path(__file__).parent / "cases"


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_golden(
    case: str,
    request: pytest.FixtureRequest,
    load_resource: Callable[[Path], OmegaVLMDeployment],
    observe: Callable[[dict[str, Any]], Observed],
    settings: Settings,
) -> None:
    """The manifests of a resource are exactly those that were reviewed."""
    seen = CASES / case / "observed.yaml"
    observed = observe(yaml.safe_load(seen.read_text()) if seen.exists() else {})
    wanted = desired(load_resource(CASES / case / "resource.yaml"), observed, settings)
    text = yaml.dump_all(wanted.manifests, sort_keys=False, Dumper=_Plain)
    if wanted.held:
        text += "# left as they are: " + ", ".join(sorted(map(str, wanted.held))) + "\n"
    golden = CASES / case / "expected.yaml"
    if request.config.getoption("--update-golden", default=False):
        golden.write_text(text)
    assert golden.read_text() == text


def test_desired_is_a_function(resource: Callable[..., OmegaVLMDeployment], settings: Settings) -> None:
    """The same world gives the same manifests, in the order in which a pod needs them."""
    first, second = (desired(resource(replicas=2), Observed(), settings) for _ in range(2))
    assert first == second
    assert [one["kind"] for one in first.manifests] == [
        "ServiceAccount",
        "ConfigMap",
        "NetworkPolicy",
        "Deployment",
        "Service",
        "PodDisruptionBudget",
    ]


LIVE: list[dict[str, Any]] = [
    {"images": {"maxSize": 512}},
    {"generation": {"defaults": {"maxNewTokens": 77}}},
    {"video": {"maxFrames": 16}},
    {"batching": {"maxBatchSize": 2}},
    {"logLevel": "debug"},
]


@pytest.mark.parametrize("change", LIVE, ids=lambda change: next(iter(change)))
def test_live_changes_leave_the_pods_alone(
    change: dict[str, Any], resource: Callable[..., OmegaVLMDeployment], settings: Settings
) -> None:
    """A live field changes the ConfigMap and nothing else."""
    before, after = (desired(resource(**spec), Observed(), settings).manifests for spec in ({}, change))
    changed = [new["kind"] for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ["ConfigMap"]


def test_an_upgrade_leaves_the_pods_alone(resource: Callable[..., OmegaVLMDeployment], settings: Settings) -> None:
    """Another version of the operator changes no pod template."""
    newer = settings.model_copy(update={"version": "9.9.9"})
    templates = [
        one["spec"]["template"]
        for version in (settings, newer)
        for one in desired(resource(), Observed(), version).manifests
        if one["kind"] == "Deployment"
    ]
    assert templates[0] == templates[1]


class _Plain(yaml.SafeDumper):
    """YAML without anchors, and text of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Plain.add_representer(str, _text)
