"""The chart's README: what it installs, and a table of its values from the comments in values.yaml."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path("charts/omega-vlm")

HEAD = """\
# The chart omega-vlm

The operator of Omega VLM, its rights, and the definition of the resource OmegaVLMDeployment. What a resource may say is in
[docs/reference/resource.md](../../docs/reference/resource.md); the first steps are in the [README](../../README.md).

## Install

    helm upgrade --install omega-vlm charts/omega-vlm --namespace omega-system --create-namespace

| Wanted | Values |
|---|---|
| No interruption when a node is lost | `replicas: 2`: a PodDisruptionBudget and different nodes come with it |
| Some namespaces only | `watchNamespaces: [vision]`: a Role in each instead of a ClusterRole |
| Nothing outside those namespaces, for who administers no cluster | also `rbac.clusterRole: false` and `crds.enabled: false` |
| Metrics of the operator | `metrics.podMonitor.enabled: true`; what they mean is in [docs/metrics.md](../../docs/metrics.md) |
| Dashboards | `dashboards.enabled: true`, or import the files of [dashboards](dashboards) into Grafana |

## Upgrade

`helm upgrade` brings the new operator and the new definition. **It restarts no model**: a new release makes the same pods of
the same resource ([why](../../docs/adr/0034-an-upgrade-restarts-no-model.md)), and resources without `spec.image` keep the server image
that they run with. They move to another one when you say so: one with `spec.image`, all with `serverImage.tag`. `helm rollback` goes back
in the same way: it restarts no model either, so after a `serverImage.tag` that disappoints name the one before it.

## Uninstall

`helm uninstall` takes the operator away. The definition, every resource and every running model stay, and serve on;
installing the chart again, with the same name and namespace, takes them up. Under another name Helm wants to be told that the
definition is its own from now on: `helm install --take-ownership`. To delete all of it:

    kubectl delete crd omegavlmdeployments.omegavlm.io

## Values

"""


@dataclass(frozen=True)
class Value:
    """One line of the table."""

    path: str
    default: Any
    meaning: str


def readme(root: Path, notice: str) -> str:
    """The whole page.

    Raises:
        ValueError: a value has no comment.
    """
    rows = [
        f"| `{value.path}` | `{json.dumps(value.default)}` | {value.meaning.replace('|', chr(92) + '|')} |"
        for value in values((root / CHART / "values.yaml").read_text())
    ]
    table = ["| Value | Default | Meaning |", "|---|---|---|", *rows]
    return f"<!-- {notice} -->\n\n{HEAD}" + "\n".join(table) + "\n"


def values(text: str) -> Iterator[Value]:
    """Every value of a values.yaml: the comment above a name is its meaning.

    A mapping whose names have comments of their own is a group of values, any other is one value.

    Raises:
        ValueError: a value has no comment.
    """
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    yield from _values(root, "", text.splitlines())


def _values(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Value]:
    for key, child in node.value:
        path, comment = f"{prefix}{key.value}", _comment(lines, key)
        if isinstance(child, yaml.MappingNode) and any(_is_explained(lines, inner) for inner in _mappings(child)):
            yield from _values(child, f"{path}.", lines)
        elif comment:
            yield Value(path, yaml.safe_load(yaml.serialize(child)), comment)
        else:
            raise ValueError(f"values.yaml:{key.start_mark.line + 1}: {path} has no comment above it")


def _mappings(node: yaml.MappingNode) -> Iterator[yaml.MappingNode]:
    """A mapping and all below it."""
    yield node
    for _, child in node.value:
        if isinstance(child, yaml.MappingNode):
            yield from _mappings(child)


def _is_explained(lines: list[str], node: yaml.MappingNode) -> bool:
    return any(_comment(lines, key) for key, _ in node.value)


def _comment(lines: list[str], key: yaml.ScalarNode) -> str:
    """The lines of comment right above a name, as one sentence after another."""
    above = key.start_mark.line
    first = above
    while first > 0 and lines[first - 1].strip().startswith("#"):
        first -= 1
    return " ".join(line.strip().lstrip("#").strip() for line in lines[first:above])
