"""What is not as the resource asks although the pods serve, in words for the message of Ready. Pure."""

from collections.abc import Iterator

from omega_operator.desired import missing, names
from omega_operator.kinds import OPTIONAL, Manifest
from omega_operator.observed import Observed
from omega_schema.resource import OmegaVLMDeployment


def remarks(resource: OmegaVLMDeployment, observed: Observed) -> Iterator[str]:
    """One clause for each. The words are ours and fixed: those of others change often, and each change is a write."""
    for kind in missing(resource, observed):
        yield f"there is no {kind.name}, because the cluster does not know that kind: install {OPTIONAL[kind]}"
    name = resource.metadata.name
    if _says_no(observed.child(names.autoscaler(name)), "ScalingActive"):
        yield f"the autoscaler has no figures, and the number of pods stays as it is: see kubectl describe hpa {name}"
    if _says_no(observed.child(names.scaled_object(name)), "Ready"):
        yield f"KEDA does not scale the pods: see kubectl describe scaledobject {name}"
    for gateway in _refusing(observed.child(names.http_route(name))):
        yield f"the Gateway {gateway} does not lead here: see kubectl describe httproute {name}"


def _says_no(manifest: Manifest | None, condition: str) -> bool:
    conditions = (manifest or {}).get("status", {}).get("conditions") or ()
    return any((one["type"], one["status"]) == (condition, "False") for one in conditions)


def _refusing(route: Manifest | None) -> list[str]:
    """Gateways that have looked at the route and do not take it, or do not find what it leads to."""
    if route is None:
        return []
    return sorted(
        {
            parent["parentRef"]["name"]
            for parent in route.get("status", {}).get("parents") or ()
            for one in parent.get("conditions") or ()
            if one["type"] in {"Accepted", "ResolvedRefs"}
            and one["status"] == "False"
            and one.get("observedGeneration") == route["metadata"].get("generation")
        }
    )
