"""Who may open connections to the pods."""

from typing import Any

from omega_operator import labels
from omega_operator.desired import names
from omega_operator.desired.metadata import manifest
from omega_operator.desired.service import PORT
from omega_operator.kinds import Manifest
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment


def network_policy(resource: OmegaVLMDeployment, settings: Settings) -> Manifest:
    """The server's port only, from the sources of the resource and from the operator, which asks /ready."""
    name = resource.metadata.name
    rule: dict[str, Any] = {"ports": [{"port": PORT, "protocol": "TCP"}]}
    if resource.spec.network_policy.from_:
        rule["from"] = [*resource.spec.network_policy.from_, _operator(settings)]
    return manifest(
        names.network_policy(name),
        resource,
        settings,
        spec={"podSelector": {"matchLabels": labels.selector(name)}, "policyTypes": ["Ingress"], "ingress": [rule]},
    )


def _operator(settings: Settings) -> dict[str, Any]:
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.pod_namespace}},
        "podSelector": {"matchLabels": {labels.COMPONENT: "operator"}},
    }
