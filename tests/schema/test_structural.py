"""The generated CustomResourceDefinition: structural, described, bounded, small, and current."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field

from omega_schema.structural import NotStructuralError, custom_resource_definition, resource_schema, to_structural

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds" / "omegavlmdeployments.yaml"


def nodes(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node of a schema with its path, the given one first."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")
    if "additionalProperties" in node:
        yield from nodes(node["additionalProperties"], f"{path}[key]")


def declared() -> list[tuple[str, Mapping[str, Any]]]:
    """Every node of spec and status, which are ours to describe."""
    properties = resource_schema()["properties"]
    return [*nodes(properties["spec"], "spec"), *nodes(properties["status"], "status")]


def test_the_checked_in_definition_is_current() -> None:
    """What stands in crds/ and in the chart is what the models say now."""
    assert yaml.safe_load(CRD.read_text()) == custom_resource_definition()
    assert (ROOT / "charts" / "omega-vlm" / "files" / CRD.name).read_text() == CRD.read_text()


def test_the_definition_is_small() -> None:
    """Below 200 KB, so that client-side apply, which keeps a copy in an annotation, works as well."""
    assert len(CRD.read_bytes()) < 200_000


def test_every_field_is_described() -> None:
    """Each field has sentences, each sentence an end."""
    for path, node in declared():
        if not path.endswith(("[]", "[key]")):
            assert node.get("description", "").endswith("."), path


def test_everything_is_bounded() -> None:
    """Each number, text, list and map has an upper bound: the budget of the rules and the user's typing errors need it."""
    for path, node in declared():
        free = node.get("x-kubernetes-preserve-unknown-fields", False)
        ruled = "x-kubernetes-validations" in node
        match node.get("type"):
            case "integer":
                assert {"minimum", "maximum"} <= node.keys(), path
            case "number":
                assert {"minimum", "maximum"} <= node.keys() or ruled, path
            case "string":
                assert "maxLength" in node or "enum" in node, path
            case "array":
                assert "maxItems" in node, path
            case "object":
                assert free or "properties" in node or "maxProperties" in node, path
            case "boolean":
                pass
            case None:
                assert node["x-kubernetes-int-or-string"], path
            case other:
                pytest.fail(f"{path} has the type {other}")


def test_numbers_say_their_bounds_and_defaults() -> None:
    """The terminal shows neither bounds nor defaults of its own accord, so the sentences do."""
    for path, node in declared():
        if path.startswith("spec") and node.get("type") == "integer":
            assert f"From {node['minimum']} to {node['maximum']}." in node["description"], path
        if "default" in node and "properties" not in node:
            assert "Default: " in node["description"], path


def test_replicas_have_no_default() -> None:
    """An autoscaler may own the number, and a default would fight it."""
    assert "default" not in resource_schema()["properties"]["spec"]["properties"]["replicas"]


def test_the_definition_serves_autoscalers_and_kubectl() -> None:
    """Subresources, short name, category and columns are what the design says."""
    spec = custom_resource_definition()["spec"]
    version = spec["versions"][0]
    assert spec["names"]["shortNames"] == ["ovlm"]
    assert spec["names"]["categories"] == ["all"]
    assert version["subresources"]["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    assert [column["name"] for column in version["additionalPrinterColumns"]] == [
        "Model",
        "GPUs",
        "Ready",
        "Status",
        "Endpoint",
        "Age",
    ]
    paths = {path for path, _ in declared()}
    for column in version["additionalPrinterColumns"][:-1]:
        assert column["jsonPath"].removeprefix(".") in paths


class _Union(BaseModel):
    field: int | str


class _Tuple(BaseModel):
    field: tuple[int, int]


class _Exclusive(BaseModel):
    field: Annotated[int, Field(gt=3)]


class _Fraction(BaseModel):
    field: Annotated[float, Field(ge=0.1)]


class _Anything(BaseModel):
    field: dict[str, Any]


@pytest.mark.parametrize("model", [_Union, _Tuple, _Exclusive, _Fraction, _Anything])
def test_refuses_what_is_not_structural(model: type[BaseModel]) -> None:
    """What has no faithful structural form raises instead of becoming something weaker, and the place is named."""
    schema = model.model_json_schema()
    with pytest.raises(NotStructuralError, match="field"):
        to_structural(schema, model.__name__)
