"""The pods, as a Gateway with an endpoint picker sees them."""

from omega_operator import labels
from omega_operator.desired import names
from omega_operator.desired.metadata import manifest
from omega_operator.desired.service import PORT
from omega_operator.kinds import Manifest
from omega_operator.settings import Settings
from omega_schema.resource import EndpointPicker, OmegaVLMDeployment


def inference_pool(resource: OmegaVLMDeployment, picker: EndpointPicker, settings: Settings) -> Manifest:
    """The picker chooses among the pods themselves; their Service is not on the way."""
    name = resource.metadata.name
    return manifest(
        names.inference_pool(name),
        resource,
        settings,
        spec={
            "selector": {"matchLabels": labels.selector(name)},
            "targetPorts": [{"number": PORT}],
            "endpointPickerRef": {
                "kind": "Service",
                "name": picker.name,
                "port": {"number": picker.port},
                "failureMode": picker.failure_mode,
            },
        },
    )
