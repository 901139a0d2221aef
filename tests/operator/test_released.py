"""Pods that run survive an upgrade of the operator: a release makes the same pod templates as the one before it.

tests/operator/released.yaml holds the digests that the last release led to. CONTRIBUTING.md says when to renew it, and how.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from omega_operator.desired import desired
from omega_operator.labels import TEMPLATE
from omega_operator.observed import Observed
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("released.yaml")
HEAD = """\
# Digests of the pod templates that the last release makes of these resources. A digest that changes restarts every model of its
# kind when users upgrade: read "Pods stay as they are" in CONTRIBUTING.md before you renew them.
"""

Load = Callable[[Path], OmegaVLMDeployment]
Observe = Callable[[dict[str, Any]], Observed]


def corpus() -> dict[str, Path]:
    """Resources by name: those of the golden manifests, and all that users copy from."""
    cases = {f"cases/{path.parent.name}": path for path in (ROOT / "tests/operator/cases").glob("*/resource.yaml")}
    examples = {
        str(path.relative_to(ROOT)): path
        for path in (ROOT / "demo").glob("**/*.yaml")
        if "kind: OmegaVLMDeployment\n" in path.read_text()
    }
    return dict(sorted((cases | examples).items()))


def digest(resource: Path, load: Load, observe: Observe, settings: Settings) -> str | None:
    """Of the pod template that a resource leads to; None while there is no Deployment yet."""
    seen = resource.with_name("observed.yaml")
    observed = observe(yaml.safe_load(seen.read_text()) if seen.exists() else {})
    manifests = desired(load(resource), observed, settings).manifests
    templates = [one["spec"]["template"] for one in manifests if one["kind"] == "Deployment"]
    return next((str(one["metadata"]["annotations"][TEMPLATE]) for one in templates), None)


def test_pod_templates_are_those_of_the_last_release(
    request: pytest.FixtureRequest, load_resource: Load, observe: Observe, settings: Settings
) -> None:
    """No resource of the last release gets other pods than it had, unless somebody decided so."""
    made = {name: digest(path, load_resource, observe, settings) for name, path in corpus().items()}
    made = {name: value for name, value in made.items() if value is not None}
    if request.config.getoption("--update-released", default=False):
        FILE.write_text(HEAD + yaml.safe_dump(made, width=120))
    released = yaml.safe_load(FILE.read_text())
    assert len(released) > 10
    assert {name: made.get(name) for name in released} == released, (
        'an upgrade would restart these models: see "Pods stay as they are" in CONTRIBUTING.md'
    )


def test_a_digest_tells_every_difference(load_resource: Load, observe: Observe, settings: Settings) -> None:
    """The digest follows whatever the pods are made of: another image is another digest."""
    resource = corpus()["cases/smallest"]
    newer = settings.model_copy(update={"server_image": "omega-server:2"})
    assert digest(resource, load_resource, observe, settings) != digest(resource, load_resource, observe, newer)
