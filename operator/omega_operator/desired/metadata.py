"""The head of every child: its name, its labels and its owner."""

from typing import Any

from omega_operator import labels
from omega_operator.kinds import RESOURCE, Manifest, Ref
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment


def manifest(ref: Ref, resource: OmegaVLMDeployment, settings: Settings, **body: Any) -> Manifest:
    """A child without its body, or with the body that is given."""
    return {
        "apiVersion": ref.kind.api_version,
        "kind": ref.kind.name,
        "metadata": {
            "name": ref.name,
            "namespace": resource.metadata.namespace,
            "labels": labels.child(resource.metadata.name, settings.version),
            "ownerReferences": [_owner(resource)],
        },
        **body,
    }


def _owner(resource: OmegaVLMDeployment) -> dict[str, Any]:
    """The garbage collector removes the child after its owner; a child never holds up the owner's deletion."""
    return {
        "apiVersion": RESOURCE.api_version,
        "kind": RESOURCE.name,
        "name": resource.metadata.name,
        "uid": resource.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
