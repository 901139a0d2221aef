"""The Deployment of the server."""

import hashlib
import json
from typing import Any

from omega_operator import labels, pod
from omega_operator.desired import names
from omega_operator.desired.metadata import manifest
from omega_operator.desired.patience import replacing_seconds
from omega_operator.desired.pod_template import pod_template
from omega_operator.desired.server_image import annotations, server_image
from omega_operator.kinds import Manifest
from omega_operator.observed import Observed
from omega_operator.ownership import owns_replicas
from omega_operator.rollout import Plan, Rollout
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment

REVISIONS = 3
"""Old ReplicaSets that are kept to look at."""


def rollout(resource: OmegaVLMDeployment, observed: Observed, template: Manifest) -> Rollout:
    """The way of a resource's pods to a template."""
    current = observed.child(names.deployment(resource.metadata.name))
    return Rollout(
        wish=resource.spec.rollout.strategy,
        wanted=replicas_of(resource, current),
        namespace=resource.metadata.namespace,
        current=current,
        template=template,
        observed=observed,
    )


def replicas_of(resource: OmegaVLMDeployment, current: Manifest | None) -> int:
    """How many pods there should be: what the resource says, else what an autoscaler has set."""
    if resource.spec.replicas is not None:
        return resource.spec.replicas
    return int(current["spec"].get("replicas", 1)) if current else 1


def deployment(resource: OmegaVLMDeployment, way: Rollout, plan: Plan, settings: Settings) -> Manifest:
    """Everything but the number of replicas is always ours."""
    name = resource.metadata.name
    spec = {
        **_replicas(resource, way.current),
        "selector": {"matchLabels": labels.selector(name)},
        "strategy": plan.manifest(),
        "progressDeadlineSeconds": replacing_seconds(resource),
        "revisionHistoryLimit": REVISIONS,
        "template": way.template,
    }
    made = manifest(names.deployment(name), resource, settings, spec=spec)
    if notes := annotations(resource, server_image(resource, way.current, settings)) | _retry(way):
        made["metadata"]["annotations"] = notes
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


def _retry(way: Rollout) -> dict[str, str]:
    """Make the pods that a quota refused at once when it has room again.

    By itself the controller tries again later and later, up to 1,000 seconds. An annotation that changes is passed on to
    its ReplicaSet, and that makes it look.
    """
    room = way.observed.room
    if room is None or not pod.exceeds_quota(way.current or {}) or not room.allows(way.candidate):
        return {}
    left = [(one.name, sorted((name, str(value)) for name, value in one.free.items())) for one in room.quotas]
    digest = hashlib.sha256(json.dumps(sorted(left)).encode()).hexdigest()[:12]
    return {labels.QUOTA: digest}


def template_of(resource: OmegaVLMDeployment, observed: Observed, settings: Settings) -> Manifest:
    """The pod template, given the one that runs."""
    current = observed.child(names.deployment(resource.metadata.name))
    return pod_template(resource, server_image(resource, current, settings), current)
