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


def autoscaler(resource: OmegaVLMDeployment, autoscaling: Autoscaling, settings: Settings) -> Manifest:
    """A HorizontalPodAutoscaler on the Deployment: the resource itself stays as it was applied.

    Pods that are not ready count as idle when pods are added and as busy when they are taken away (the controller's own
    rule, see the Kubernetes documentation), so neither pods that find no GPU nor missing metrics make it flap.
    """
    name = resource.metadata.name
    twice_as_many = {"type": "Percent", "value": 100, "periodSeconds": 60}
    one_less = {"type": "Pods", "value": 1, "periodSeconds": 60}
    return manifest(
        names.autoscaler(name),
        resource,
        settings,
        spec={
            "scaleTargetRef": {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, "name": name},
            "minReplicas": autoscaling.min_replicas,
            "maxReplicas": autoscaling.max_replicas,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": METRIC},
                        "target": {"type": "AverageValue", "averageValue": str(autoscaling.requests_per_engine)},
                    },
                }
            ],
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [twice_as_many]},
                "scaleDown": {
                    "stabilizationWindowSeconds": CALM_SECONDS,
                    "selectPolicy": "Max",
                    "policies": [one_less],
                },
            },
        },
    )
