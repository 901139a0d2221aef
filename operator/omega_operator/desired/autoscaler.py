"""How many pods there are, by how much they have to do."""

from omega_operator.desired import names
from omega_operator.desired.metadata import manifest
from omega_operator.kinds import DEPLOYMENT, Manifest
from omega_operator.settings import Settings
from omega_schema.resource import Autoscaling, OmegaVLMDeployment

METRIC = "omega_requests_per_engine"
"""Of each pod: requests that run or wait, divided by its engines."""

CALM_SECONDS = 300
"""For how long fewer pods must have been enough before one goes: loading a model takes minutes, waiting costs less."""


TARGET = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name}

BEHAVIOR = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 60}],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": CALM_SECONDS,
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
    },
}
"""At most twice as many a minute, and one less."""


def autoscaler(resource: OmegaVLMDeployment, autoscaling: Autoscaling, settings: Settings) -> Manifest:
    """A HorizontalPodAutoscaler on the Deployment: the resource itself stays as it was applied.

    Pods that are not ready count as idle when pods are added and as busy when they are taken away (the controller's own
    rule, see the Kubernetes documentation), so neither pods that find no GPU nor missing metrics make it flap.
    """
    target = {"type": "AverageValue", "averageValue": str(autoscaling.requests_per_engine)}
    return manifest(
        names.autoscaler(resource.metadata.name),
        resource,
        settings,
        spec={
            "scaleTargetRef": TARGET | {"name": names.deployment(resource.metadata.name).name},
            "minReplicas": autoscaling.min_replicas,
            "maxReplicas": autoscaling.max_replicas,
            "metrics": [{"type": "Pods", "pods": {"metric": {"name": METRIC}, "target": target}}],
            "behavior": BEHAVIOR,
        },
    )
