"""How many pods a node's maintenance may take at once."""

from omega_operator import labels
from omega_operator.desired import names
from omega_operator.desired.metadata import manifest
from omega_operator.kinds import Manifest
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment


def pod_disruption_budget(resource: OmegaVLMDeployment, settings: Settings) -> Manifest:
    """One at a time; a pod that is not ready anyway never holds up a drain."""
    name = resource.metadata.name
    return manifest(
        names.disruption_budget(name),
        resource,
        settings,
        spec={
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": labels.selector(name)},
        },
    )
