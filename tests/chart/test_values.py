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

import chart_readme
from omega_schema.resource import OmegaVLMDeployment

CHART = Path(__file__).parents[2] / "charts/omega-vlm"
TEXT = (CHART / "values.yaml").read_text()
VALUES = yaml.safe_load(TEXT)
EXPLAINED = {value.path for value in chart_readme.values(TEXT)}
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

Helm = Callable[..., subprocess.CompletedProcess[str]]


def paths(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted path of every value and of every group of values."""
    for name, value in values.items():
        yield f"{prefix}{name}"
        if prefix + name not in EXPLAINED:
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


def test_a_value_without_a_comment_is_noticed() -> None:
    """The generator of the README names the value that nobody explained, at any depth."""
    text = "# Explained.\none: 1\ntwo:\n  # Explained.\n  three: {}\n  four: 4\n"
    with pytest.raises(ValueError, match=r"values.yaml:6: two.four has no comment"):
        list(chart_readme.values(text))


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
        ({"metricsNamespaces": "monitoring"}, "metricsNamespaces"),
        ({"crds": {"enabled": "yes"}}, "crds"),
        ({"serviceAccount": {"create": False}}, "serviceAccount"),
        ({"metrics": {"service": {"port": 0}}}, "port"),
        ({"metrics": {"podMonitor": {"interval": "often"}}}, "interval"),
        ({"probePort": 70000}, "probePort"),
        ({"rbac": {"clusterRole": False}}, "watchNamespaces"),
        ({"dashboards": {"labels": {"grafana_dashboard": 1}}}, "grafana_dashboard"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "topologyKey"),
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
