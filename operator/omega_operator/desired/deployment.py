"""The Deployment of the server."""

from typing import Any

from omega_operator import labels, rollout
from omega_operator.desired import names
from omega_operator.desired.container import STARTUP_SECONDS
from omega_operator.desired.metadata import manifest
from omega_operator.desired.pod_template import pod_template
from omega_operator.desired.server_image import annotations, server_image
from omega_operator.kinds import Manifest
from omega_operator.observed import Observed
from omega_operator.ownership import owns_replicas
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment

REVISIONS = 3
"""Old ReplicaSets that are kept to look at."""


def deployment(resource: OmegaVLMDeployment, observed: Observed, settings: Settings) -> Manifest:
    """Everything but the number of replicas is always ours."""
    name = resource.metadata.name
    current = observed.child(names.deployment(name))
    image = server_image(resource, current, settings)
    template = pod_template(resource, image)
    spec = {
        **_replicas(resource, current),
        "selector": {"matchLabels": labels.selector(name)},
        "strategy": rollout.manifest(rollout.choose(resource.spec.rollout.strategy, current, template, observed)),
        "progressDeadlineSeconds": STARTUP_SECONDS + 60,
        "revisionHistoryLimit": REVISIONS,
        "template": template,
    }
    made = manifest(names.deployment(name), resource, settings, spec=spec)
    if chosen := annotations(resource, image):
        made["metadata"]["annotations"] = chosen
    return made


def _replicas(resource: OmegaVLMDeployment, current: Manifest | None) -> dict[str, Any]:
    """The number, or nothing where an autoscaler owns it.

    A field that its only owner stops applying falls back to its default, 1. So when the resource stops naming a number
    we go on applying the one that runs, until an autoscaler changes it and owns it from then on.
    """
    if resource.spec.replicas is not None:
        return {"replicas": resource.spec.replicas}
    if current is not None and owns_replicas(current):
        return {"replicas": current["spec"]["replicas"]}
    return {}
