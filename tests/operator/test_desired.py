"""The children of whole resources, compared with manifests that a reviewer reads: tests/operator/cases/*/."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from omega_operator.desired import desired, names
from omega_operator.kinds import ref_of
from omega_operator.observed import Observed
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment
from omega_schema.source import HubSource

HUB = HubSource("Org/Model", "main")
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


def deployment_of(resource: OmegaVLMDeployment, observed: Observed, settings: Settings) -> dict[str, Any]:
    """The Deployment that should be there."""
    return next(one for one in desired(resource, observed, settings).manifests if one["kind"] == "Deployment")


def test_an_upgrade_leaves_the_image_alone(
    resource: Callable[..., OmegaVLMDeployment], observe: Callable[[dict[str, Any]], Observed], settings: Settings
) -> None:
    """With another default image, a Deployment keeps the one that it has, and a new one gets the new one."""
    kept = settings.model_copy(update={"keep_server_image": True})
    newer = kept.model_copy(update={"server_image": "omega-server:2"})
    before = deployment_of(resource(), Observed(), kept)
    after = deployment_of(resource(), observe({"children": [before]}), newer)
    assert after == before
    created = deployment_of(resource(), Observed(), newer)
    assert created["spec"]["template"]["spec"]["containers"][0]["image"] == "omega-server:2"


@pytest.mark.parametrize("how", ["a named default", "a named image", "no longer a named image", "another's image"])
def test_images_that_somebody_asked_for_arrive(
    how: str,
    resource: Callable[..., OmegaVLMDeployment],
    observe: Callable[[dict[str, Any]], Observed],
    settings: Settings,
) -> None:
    """An image is not kept where the chart or the resource names another, nor where it was somebody else's choice."""
    kept = settings.model_copy(update={"keep_server_image": True})
    newer = kept.model_copy(update={"server_image": "omega-server:2"})
    before = deployment_of(
        resource(**({"image": "own:1"} if how == "no longer a named image" else {})), Observed(), kept
    )
    if how == "another's image":
        before["spec"]["template"]["spec"]["containers"][0]["image"] = "another:1"
    after = deployment_of(
        resource(**({"image": "own:2"} if how == "a named image" else {})),
        observe({"children": [before]}),
        newer.model_copy(update={"keep_server_image": how != "a named default"}),
    )
    wanted = "own:2" if how == "a named image" else "omega-server:2"
    assert after["spec"]["template"]["spec"]["containers"][0]["image"] == wanted
    assert after["metadata"].get("annotations") == (
        None if how == "a named image" else {"omegavlm.io/default-image": "omega-server:2"}
    )


def test_time_to_load(
    resource: Callable[..., OmegaVLMDeployment], observe: Callable[[dict[str, Any]], Observed], settings: Settings
) -> None:
    """It grows with the volume of the model, and pods that run are not replaced for it; with them it changes."""

    def made(size: str, observed: Observed, **spec: Any) -> dict[str, Any]:
        wish = resource(model={"source": "hf://Org/Model", "cache": {"size": size}}, **spec)
        done = {"type": "Complete", "status": "True"}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": names.download("vl", HUB).name}}
        children = {ref_of(job): job | {"status": {"conditions": [done]}}, **observed.children}
        return deployment_of(wish, dataclasses.replace(observed, children=children), settings)

    def seconds(deployment: dict[str, Any]) -> int:
        found: int = deployment["spec"]["template"]["spec"]["containers"][0]["startupProbe"]["failureThreshold"]
        return found

    created = made("100G", Observed())
    assert seconds(created) == 600 + 2000
    assert created["spec"]["progressDeadlineSeconds"] == 135 + 2 * 2600
    probe: dict[str, Any] = {"f:startupProbe": {"f:failureThreshold": {}}}
    containers = {"f:containers": {'k:{"name":"server"}': probe}}
    fields = {"f:spec": {"f:template": {"f:spec": containers}}}
    ours = {"manager": "omega-operator", "operation": "Apply", "fieldsV1": fields}
    runs = observe({"children": [created | {"metadata": created["metadata"] | {"managedFields": [ours]}}]})
    grown = made("200G", runs)
    assert grown["spec"]["template"] == created["spec"]["template"]
    assert grown["spec"]["progressDeadlineSeconds"] == 135 + 2 * 4600
    assert seconds(made("200G", runs, gpu={"count": 2})) == 4600
    edited = observe({"children": [created]})  # by somebody who owns the field now
    assert seconds(made("200G", edited)) == 4600


def test_a_download_is_made_anew_with_what_was_corrected(
    resource: Callable[..., OmegaVLMDeployment], settings: Settings
) -> None:
    """A Job of another environment than the resource names now has to go; one that has done its work stays."""
    hub = {"source": "hf://Org/Model", "cache": {"size": "1Gi"}}
    before = resource(model=hub)
    after = resource(model=hub, pod={"env": [{"name": "HF_TOKEN", "value": "x"}]})
    job = next(one for one in desired(before, Observed(), settings).manifests if one["kind"] == "Job")
    ref, observed = ref_of(job), Observed(children={ref_of(job): job})
    assert ref in desired(before, observed, settings).held
    assert ref not in desired(after, observed, settings).refs
    done = job | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    assert ref in desired(after, Observed(children={ref: done}), settings).held


class _Plain(yaml.SafeDumper):
    """YAML without anchors, and text of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Plain.add_representer(str, _text)
