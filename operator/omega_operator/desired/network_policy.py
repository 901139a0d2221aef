"""Who may connect to the pods, and to whom they may connect."""

from typing import Any

from omega_operator import labels
from omega_operator.desired import names
from omega_operator.desired.metadata import manifest
from omega_operator.desired.service import PORT
from omega_operator.kinds import Manifest
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment

_LINK_LOCAL = "169.254.0.0/16"

_DNS: dict[str, Any] = {
    # 5353 is where OpenShift's servers listen; link-local is where a node's own cache does.
    "ports": [{"port": port, "protocol": protocol} for port in (53, 5353) for protocol in ("UDP", "TCP")],
    "to": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": _LINK_LOCAL}}],
}

_TCP = [{"protocol": "TCP"}]

_PUBLIC: tuple[dict[str, Any], ...] = (
    {
        "cidr": "0.0.0.0/0",
        "except": [
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            _LINK_LOCAL,
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ],
    },
    {"cidr": "2000::/3", "except": ["2001::/23", "2001:db8::/32", "3fff::/20"]},
)
"""What the server takes for public when it fetches a picture: the first of two fences around the cluster's inside."""


def network_policy(resource: OmegaVLMDeployment, settings: Settings) -> Manifest:
    """In: the server's port, from the sources of the resource, the operator and who reads metrics. Out: see `_egress`."""
    name, images = resource.metadata.name, resource.spec.images
    ranges: list[dict[str, Any]] = [{"cidr": network} for network in images.allowed_cidrs]
    open_to = [*_PUBLIC, *ranges] if images.allow_remote else []
    return manifest(
        names.network_policy(name),
        resource,
        settings,
        spec={
            "podSelector": {"matchLabels": labels.selector(name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [_ingress(resource, settings)],
            "egress": _egress(resource, open_to),
        },
    )


def download_policy(resource: OmegaVLMDeployment, settings: Settings) -> Manifest:
    """In: the operator, which asks for the progress. Out: to the hub, which sends on to wherever the files lie."""
    name = resource.metadata.name
    asked = {"ports": [{"port": PORT, "protocol": "TCP"}], "from": [_operator(settings)]}
    return manifest(
        names.download_policy(name),
        resource,
        settings,
        spec={
            "podSelector": {"matchLabels": labels.selector(name, labels.DOWNLOAD)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [asked],
            "egress": _egress(resource, [*_PUBLIC]),
        },
    )


def _ingress(resource: OmegaVLMDeployment, settings: Settings) -> dict[str, Any]:
    rule: dict[str, Any] = {"ports": [{"port": PORT, "protocol": "TCP"}]}
    if resource.spec.network_policy.from_:
        rule["from"] = [*resource.spec.network_policy.from_, _operator(settings), *_readers(resource, settings)]
    return rule


def _egress(resource: OmegaVLMDeployment, blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Address blocks by TCP, what the resource adds by anything, and names to go with it: else nothing at all."""
    rules = []
    if blocks:
        rules.append({"ports": _TCP, "to": [{"ipBlock": block} for block in blocks]})
    if resource.spec.network_policy.to:
        rules.append({"to": [*resource.spec.network_policy.to]})
    return [_DNS, *rules] if rules else []


def _operator(settings: Settings) -> dict[str, Any]:
    """The operator asks each pod which configuration it runs."""
    return _namespace(settings.pod_namespace) | {"podSelector": {"matchLabels": {labels.COMPONENT: "operator"}}}


def _readers(resource: OmegaVLMDeployment, settings: Settings) -> list[dict[str, Any]]:
    """Where Prometheus and KEDA are, for a resource that is for them to read."""
    if not resource.spec.monitoring.pod_monitor and resource.spec.autoscaling is None:
        return []
    return [_namespace(one) for one in settings.metrics_namespaces]


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
