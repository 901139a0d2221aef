"""How many pods there are, by how much they have to do, as KEDA counts it."""

from typing import Any

from omega_operator import labels
from omega_operator.desired import names
from omega_operator.desired.autoscaler import BEHAVIOR, METRIC, TARGET
from omega_operator.desired.metadata import manifest
from omega_operator.desired.pod_monitor import SCRAPE_KEY
from omega_operator.desired.service import PORT
from omega_operator.kinds import Manifest
from omega_operator.settings import Settings
from omega_schema.resource import Auth, Autoscaling, OmegaVLMDeployment

_EXCLUDED = "scaledobject.keda.sh/hpa-excluded-labels"
"""KEDA copies labels to the autoscaler that it makes, which is not ours and must not say so."""


def scaled_object(resource: OmegaVLMDeployment, autoscaling: Autoscaling, settings: Settings) -> Manifest:
    """A ScaledObject on the Deployment, whose trigger asks each ready pod for its figure and takes their mean.

    metricType Value multiplies that mean with the number of ready pods. So pods that find no GPU or still load change
    nothing, a pod that does not answer counts like the others, and while none answers there is no figure and no change.
    """
    name, namespace = resource.metadata.name, resource.metadata.namespace
    trigger: dict[str, Any] = {
        "type": "metrics-api",
        "metricType": "Value",
        "metadata": {
            # The pods' port at no name that resolves: KEDA reads Service and namespace from it. A KEDA that is too old
            # to ask all pods finds nobody there, and does not take the figure of one for that of all.
            "url": f"http://{names.service(name).name}.{namespace}.endpoints:{PORT}/metrics",
            "aggregateFromKubeServiceEndpoints": "true",
            "aggregationType": "average",
            "format": "prometheus",
            "valueLocation": METRIC,
            "targetValue": str(autoscaling.requests_per_engine),
        },
    }
    if resource.spec.auth is not None:
        trigger["metadata"]["authMode"] = "bearer"
        trigger["authenticationRef"] = {"name": names.trigger_authentication(name).name}
    made = manifest(
        names.scaled_object(name),
        resource,
        settings,
        spec={
            "scaleTargetRef": TARGET | {"name": names.deployment(name).name},
            "minReplicaCount": autoscaling.min_replicas,
            "maxReplicaCount": autoscaling.max_replicas,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": BEHAVIOR}},
            "triggers": [trigger],
        },
    )
    made["metadata"]["annotations"] = {_EXCLUDED: f"{labels.MANAGED_BY},{labels.NAME}"}
    return made


def trigger_authentication(resource: OmegaVLMDeployment, auth: Auth, settings: Settings) -> Manifest:
    """The key with which KEDA reads the metrics: the one that is there for whoever does."""
    secret = {"parameter": "token", "name": auth.secret_ref.name, "key": SCRAPE_KEY}
    ref = names.trigger_authentication(resource.metadata.name)
    return manifest(ref, resource, settings, spec={"secretTargetRef": [secret]})
