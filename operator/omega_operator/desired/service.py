"""The Service in front of the pods."""

from omega_operator import labels
from omega_operator.desired import names
from omega_operator.desired.metadata import manifest
from omega_operator.kinds import Manifest
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment

PORT = 8000
"""Port of the server in the pod."""

PORT_NAME = "http"


def service(resource: OmegaVLMDeployment, settings: Settings) -> Manifest:
    """One port, to the pods that are ready."""
    wish = resource.spec.service
    made = manifest(
        names.service(resource.metadata.name),
        resource,
        settings,
        spec={
            "type": wish.type,
            "selector": labels.selector(resource.metadata.name),
            "ports": [{"name": PORT_NAME, "port": wish.port, "targetPort": PORT_NAME, "protocol": "TCP"}],
        },
    )
    if wish.annotations:
        made["metadata"]["annotations"] = dict(wish.annotations)
    return made
