"""The way into the cluster."""

from typing import Any

from omega_operator.desired import names
from omega_operator.desired.metadata import manifest
from omega_operator.kinds import HTTP_ROUTE, INFERENCE_POOL, Manifest
from omega_operator.settings import Settings
from omega_schema.resource import Gateway, OmegaVLMDeployment, ParentRef

FOREVER = {"request": "0s", "backendRequest": "0s"}
"""An answer may stream for minutes; Gateways that set a time by themselves cut it off. 0 means none."""


def http_route(resource: OmegaVLMDeployment, gateway: Gateway, settings: Settings, *, pool: bool) -> Manifest:
    """All of the server, to the InferencePool if there is one, or else to the Service."""
    everything = {"path": {"type": "PathPrefix", "value": "/"}}
    spec: dict[str, Any] = {"parentRefs": [_parent(ref) for ref in gateway.parent_refs]}
    if gateway.hostnames:
        spec["hostnames"] = list(gateway.hostnames)
    backend = _pool(resource) if pool else _service(resource)
    spec["rules"] = [{"matches": [everything], "backendRefs": [backend], "timeouts": FOREVER}]
    return manifest(names.http_route(resource.metadata.name), resource, settings, spec=spec)


def _parent(ref: ParentRef) -> dict[str, Any]:
    fields = {"name": ref.name, "namespace": ref.namespace, "sectionName": ref.section_name}
    return {"group": HTTP_ROUTE.group, "kind": "Gateway"} | {field: text for field, text in fields.items() if text}


def _service(resource: OmegaVLMDeployment) -> dict[str, Any]:
    return {"kind": "Service", "name": names.service(resource.metadata.name).name, "port": resource.spec.service.port}


def _pool(resource: OmegaVLMDeployment) -> dict[str, Any]:
    ref = names.inference_pool(resource.metadata.name)
    return {"group": INFERENCE_POOL.group, "kind": INFERENCE_POOL.name, "name": ref.name}
