"""The pods of the server: the boot configuration, of which any change rolls them."""

import hashlib
import json
from typing import Any

from omega_operator import labels, pod
from omega_operator.desired import names, resources, security
from omega_operator.desired.container import NAME, container
from omega_operator.desired.model_source import model_volume
from omega_operator.desired.patience import draining_seconds, loading_seconds
from omega_operator.kinds import Manifest
from omega_operator.ownership import owns_startup
from omega_schema.resource import OmegaVLMDeployment
from omega_schema.source import parse_source


def pod_template(resource: OmegaVLMDeployment, image: str, current: Manifest | None = None) -> dict[str, Any]:
    """The template, with its own digest as an annotation: a pod tells by it whether it is of the newest.

    The time to load is no part of the digest: pods get a new one when they are replaced, but are not replaced for it. So
    it stays as it is in the Deployment that runs.
    """
    wish = resource.spec.pod
    template: dict[str, Any] = {
        "metadata": {
            "labels": dict(wish.labels) | labels.pod(resource.metadata.name),
            "annotations": dict(wish.annotations),
        },
        "spec": _pod_spec(resource, image),
    }
    template["metadata"]["annotations"][labels.TEMPLATE] = digest(template)
    _startup(template)["failureThreshold"] = _patience(resource, template, current)
    return template


def digest(template: Manifest) -> str:
    """What tells a pod template from any other."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:12]


def _patience(resource: OmegaVLMDeployment, template: Manifest, current: Manifest | None) -> int:
    if current is not None and owns_startup(current):
        runs = current["spec"]["template"]
        if pod.template_digest(runs) == pod.template_digest(template):
            return int(_startup(runs)["failureThreshold"])
    return loading_seconds(resource)


def _startup(template: Manifest) -> dict[str, Any]:
    """The startup probe of the server: it looks every second, so failures are seconds."""
    (server,) = (one for one in template["spec"]["containers"] if one["name"] == NAME)
    probe: dict[str, Any] = server["startupProbe"]
    return probe


def _pod_spec(resource: OmegaVLMDeployment, image: str) -> dict[str, Any]:
    name = resource.metadata.name
    return {
        "serviceAccountName": names.service_account(name).name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security.POD,
        "terminationGracePeriodSeconds": draining_seconds(resource),
        "topologySpreadConstraints": [_spread(name)],
        "containers": [container(resource, image)],
        "volumes": _volumes(resource),
        **_placement(resource),
    }


def _placement(resource: OmegaVLMDeployment) -> dict[str, Any]:
    """Where the pods may run, and what is passed through; empty fields are left out, as the API server does."""
    wish, gpu = resource.spec.pod, resource.spec.gpu
    tolerations: list[dict[str, Any]] = [dict(one) for one in wish.tolerations]
    if gpu.device == "cuda":
        tolerations.append({"key": gpu.resource_name, "operator": "Exists", "effect": "NoSchedule"})
    fields = {
        "nodeSelector": dict(wish.node_selector),
        "tolerations": tolerations,
        "affinity": wish.affinity,
        "runtimeClassName": wish.runtime_class_name,
        "priorityClassName": wish.priority_class_name,
        "imagePullSecrets": [dict(one) for one in wish.image_pull_secrets],
    }
    return {name: value for name, value in fields.items() if value}


def _spread(name: str) -> dict[str, Any]:
    """Replicas on different nodes where there are some, of each rollout by itself; never a reason not to run."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels.selector(name)},
        "matchLabelKeys": ["pod-template-hash"],
    }


def _volumes(resource: OmegaVLMDeployment) -> list[dict[str, Any]]:
    name, spec = resource.metadata.name, resource.spec
    shared_memory = {"medium": "Memory", "sizeLimit": resources.shared_memory(spec.gpu, spec.pod)}
    volumes: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": names.config_map(name).name}},
        {"name": "shared-memory", "emptyDir": shared_memory},
        {"name": "tmp", "emptyDir": {}},
    ]
    if spec.auth is not None:
        volumes.append({"name": "keys", "secret": {"secretName": spec.auth.secret_ref.name, "optional": False}})
    model = model_volume(parse_source(spec.model.source), name)
    if model.volume is not None:
        volumes.append(model.volume)
    return volumes
