"""The chart's values: documented, checked, and refused in words."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from omega_schema.resource import OmegaVLMDeployment

CHART = Path(__file__).parents[2] / "charts/omega-vlm"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

Helm = Callable[..., subprocess.CompletedProcess[str]]


def paths(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted path of every value."""
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict) and prefix + name != "resources":
            yield from paths(value, f"{prefix}{name}.")


def test_the_defaults_are_valid() -> None:
    """values.yaml obeys the schema."""
    jsonschema.validate(VALUES, SCHEMA)


@pytest.mark.parametrize("path", [*paths(VALUES)])
def test_every_value_is_declared(path: str) -> None:
    """A name that values.yaml has is a name that the schema knows, and its neighbour with a typing error is not."""
    *outer, name = path.split(".")
    wrong: dict[str, Any] = {}
    inner = wrong
    for step in outer:
        inner[step] = {}
        inner = inner[step]
    inner[f"{name}Typo"] = None
    errors = [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(VALUES | wrong)]
    assert any("Typo" in message and "unexpected" in message for message in errors)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replica": 2}, "replica"),
        ({"replicas": -1}, "replicas"),
        ({"replicas": "two"}, "replicas"),
        ({"logLevel": "loud"}, "logLevel"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"image": {"repository": ""}}, "repository"),
        ({"image": {"tag": "no spaces"}}, "tag"),
        ({"image": {"digest": "md5:0"}}, "digest"),
        ({"serverImage": {"pullPolicy": "Always"}}, "serverImage"),
        ({"watchNamespaces": "vision"}, "watchNamespaces"),
        ({"watchNamespaces": ["Vision"]}, "watchNamespaces"),
        ({"watchNamespaces": ["a", "a"]}, "watchNamespaces"),
        ({"crds": {"enabled": "yes"}}, "crds"),
        ({"serviceAccount": {"create": False}}, "serviceAccount"),
        ({"metrics": {"service": {"port": 0}}}, "port"),
        ({"env": [{"value": "nameless"}]}, "env"),
        ({"nodeSelector": {"gpu": 8}}, "nodeSelector"),
    ],
    ids=str,
)
def test_wrong_values_are_refused(helm: Helm, values: dict[str, Any], words: str) -> None:
    """Helm refuses a wrong value before anything is installed, and names it."""
    done = helm("template", "omega-vlm", str(CHART), values=values)
    assert done.returncode != 0
    assert words in done.stderr


def test_the_chart_is_well_formed(helm: Helm) -> None:
    """Helm lint finds nothing to complain about."""
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_notes_show_a_resource_that_is_valid(helm: Helm) -> None:
    """Who types what the notes say after an installation gets no error."""
    done = helm("install", "omega-vlm", str(CHART), "--dry-run=client", "--namespace=omega-system")
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    found = re.search(r"<<END\n(.*?)^ +END$", notes, re.DOTALL | re.MULTILINE)
    assert found
    OmegaVLMDeployment.parse(yaml.safe_load(found[1]))
    assert "rollout status deployment/omega-vlm" in notes
