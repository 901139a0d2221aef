"""Resource -> CustomResourceDefinition: pydantic's JSON schema made structural, with the rules in CEL.

A structural schema is the subset of OpenAPI v3 that the API server takes: no references, no unions, one type at each
node. What has no faithful form there is refused here by raising, never dropped, so that the API server and pydantic
cannot come to mean different things.
"""

from collections.abc import Mapping
from typing import Any

from omega_schema import limits, rules
from omega_schema.bounds import IN_WORDS
from omega_schema.resource import OmegaVLMDeployment

Node = dict[str, Any]

_DROPPED = {"title", "default"}
"""Keywords that are not copied: the first says nothing, the second is written by `_default`."""

_READ = {"description", "properties", "items", "additionalProperties", "const", IN_WORDS}
"""Keywords that are read and written in another form."""

_COPIED = {
    "type", "enum", "format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "required",
    "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-validations",
}  # fmt: skip

PRINTER_COLUMNS = (
    {"name": "Model", "type": "string", "jsonPath": ".spec.model.source", "description": "Where the model comes from"},
    {"name": "GPUs", "type": "integer", "jsonPath": ".status.gpus.perReplica", "description": "GPUs per pod"},
    {"name": "Ready", "type": "string", "jsonPath": ".status.ready", "description": "Ready and wanted pods"},
    {"name": "Status", "type": "string", "jsonPath": ".status.summary", "description": "The state in words"},
    {
        "name": "Endpoint",
        "type": "string",
        "jsonPath": ".status.endpoint",
        "description": "Base address for OpenAI clients inside the cluster",
        "priority": 1,
    },
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)


class NotStructuralError(Exception):
    """A model says something that a structural schema cannot. Its text names the place."""


def custom_resource_definition() -> Node:
    """The complete CustomResourceDefinition, ready to be written as YAML."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{limits.PLURAL}.{limits.GROUP}"},
        "spec": {
            "group": limits.GROUP,
            "names": {
                "kind": limits.KIND,
                "listKind": f"{limits.KIND}List",
                "plural": limits.PLURAL,
                "singular": limits.KIND.lower(),
                "shortNames": ["ovlm"],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": limits.VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": resource_schema()},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": list(PRINTER_COLUMNS),
                }
            ],
        },
    }


def resource_schema() -> Node:
    """The structural schema of one resource.

    Raises:
        NotStructuralError: a model of the resource cannot be said in a structural schema.
    """
    schema = to_structural(OmegaVLMDeployment.model_json_schema(by_alias=True), OmegaVLMDeployment.__name__)
    # The API server owns these three and allows no more than this to be said about them.
    schema["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    schema["required"] = ["spec"]
    return schema


def to_structural(document: Mapping[str, Any], model: str) -> Node:
    """What pydantic says about a model, made structural, with the rules that stand at the models of these names.

    Raises:
        NotStructuralError: it cannot be said in a structural schema.
    """
    root = {key: value for key, value in document.items() if key != "$defs"}
    return _structural(root, document.get("$defs", {}), model, "")


def _structural(node: Mapping[str, Any], models: Mapping[str, Node], model: str | None, path: str) -> Node:
    """One node and all below it. `model` names the model that the node is, if it is one."""
    node, model = _resolved(node, models, model, path)
    unknown = set(node) - _COPIED - _DROPPED - _READ
    if unknown:
        raise NotStructuralError(f"{path}: a structural schema has no {', '.join(sorted(unknown))}")
    if any(int(node[bound]) != node[bound] for bound in ("minimum", "maximum") if bound in node):
        raise NotStructuralError(f"{path}: the API server cuts off the fraction of a bound: declare it with Within")

    result: Node = {}
    description = _description(node)
    if description:
        result["description"] = description
    result |= {key: value for key, value in node.items() if key in _COPIED}
    if "const" in node:
        result["enum"] = [node["const"]]
    if node.get("type") == "integer":
        result["format"] = "int64"
    default = _default(node)
    if default is not None:
        result["default"] = default

    if "properties" in node:
        result["properties"] = {
            name: _structural(child, models, None, f"{path}.{name}") for name, child in node["properties"].items()
        }
    elif "x-kubernetes-preserve-unknown-fields" not in node and node.get("type") == "object":
        if not isinstance(node.get("additionalProperties"), Mapping):
            raise NotStructuralError(f"{path}: an object says neither its fields nor that it is free")
        result["additionalProperties"] = _structural(node["additionalProperties"], models, None, f"{path}[key]")
    if "items" in node:
        result["items"] = _structural(node["items"], models, None, f"{path}[]")

    validations = [*node.get("x-kubernetes-validations", ()), *_validations(model)]
    if validations:
        result["x-kubernetes-validations"] = validations
    return result


def _resolved(
    node: Mapping[str, Any], models: Mapping[str, Node], model: str | None, path: str
) -> tuple[Mapping[str, Any], str | None]:
    """The node without its reference and without "or null": leaving a field out is the one way to say nothing."""
    if "anyOf" in node:
        choices = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
        if len(choices) != 1:
            raise NotStructuralError(f"{path}: a structural schema has no union")
        node = {**choices[0], **{key: value for key, value in node.items() if key != "anyOf"}}
    if "$ref" in node:
        model = node["$ref"].rpartition("/")[2]
        node = {**models[model], **{key: value for key, value in node.items() if key != "$ref"}}
    return node, model


def _default(node: Mapping[str, Any]) -> Any:
    """The default that the API server fills in, or None.

    An object is filled in whole, because its rules must hold for what is written here. Nothing is filled in where the
    default is empty: it would only make resources longer.
    """
    default = node.get("default")
    if isinstance(default, Mapping):
        # An object without any default must still be there for the rules that look into it.
        return _without_empty(default) or ({} if "properties" in node else None)
    return None if default in ("", []) else default


def _without_empty(values: Mapping[str, Any]) -> Node:
    pruned = {name: _without_empty(value) if isinstance(value, Mapping) else value for name, value in values.items()}
    return {name: value for name, value in pruned.items() if value not in (None, "", [], {})}


def _description(node: Mapping[str, Any]) -> str:
    """The sentences of a field, with its bounds and its default."""
    sentences = [" ".join(node.get("description", "").split())]
    least, most = node.get("minimum"), node.get("maximum")
    if least is not None and most is not None:
        sentences.append(f"From {least} to {most}.")
    sentences.append(node.get(IN_WORDS, ""))
    default = node.get("default")
    if default not in (None, "", [], {}) and "properties" not in node:
        sentences.append(f"Default: {str(default).lower() if isinstance(default, bool) else default}.")
    return " ".join(filter(None, sentences))


def _validations(model: str | None) -> list[Node]:
    """The rules that stand at a model, in the form of a CRD."""
    if model is None:
        return []
    both: tuple[rules.Sentence, ...] = (*rules.rules_of(model), *rules.transitions_of(model))
    return [{"rule": rule.cel, "message": rule.message, "fieldPath": rule.field} for rule in both]
