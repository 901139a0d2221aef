"""A model from the Hugging Face Hub: a volume, and one download per revision that all replicas share."""

from typing import Any

from omega_operator import labels, pod
from omega_operator.desired import names, security
from omega_operator.desired.metadata import manifest
from omega_operator.desired.model_source import MOUNT, VOLUME, directory
from omega_operator.desired.pod_template import digest
from omega_operator.desired.service import PORT, PORT_NAME
from omega_operator.kinds import Manifest
from omega_operator.observed import Observed
from omega_operator.settings import Settings
from omega_schema.resource import ModelCache, OmegaVLMDeployment
from omega_schema.source import HubSource

_NEVER_FAILS = 2**31 - 1
"""Attempts of a Job's pod: the kubelet goes on starting it, at last every five minutes, until what is wrong is mended."""


def volume_claim(resource: OmegaVLMDeployment, cache: ModelCache, settings: Settings) -> Manifest:
    """The volume, shared by the replicas on all nodes."""
    spec: dict[str, Any] = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": str(cache.size)}}}
    if cache.storage_class_name:
        spec["storageClassName"] = cache.storage_class_name
    return manifest(names.cache(resource.metadata.name), resource, settings, spec=spec)


def download(resource: OmegaVLMDeployment, source: HubSource, observed: Observed, settings: Settings) -> Manifest:
    """The Job that fills the volume, on any node: a download needs no GPU."""
    spec = {
        "backoffLimit": _NEVER_FAILS,
        "podReplacementPolicy": "Failed",
        "template": _template(resource, source, observed, settings),
    }
    return manifest(names.download(resource.metadata.name, source), resource, settings, spec=spec)


def is_done(job: Manifest | None) -> bool:
    """Whether the download ended well."""
    return _condition(job, "Complete") is not None


def failure(job: Manifest | None) -> str | None:
    """Why Kubernetes gave a download up, which it does only if somebody else set a bound; None if it did not."""
    failed = _condition(job, "Failed")
    return None if failed is None else str(failed.get("message") or failed.get("reason") or "without a reason")


def lacks_a_pod(job: Manifest | None) -> bool:
    """Whether a download's pod was lost, to an eviction or with its node, and the Job controller makes no other yet."""
    counts = (job or {}).get("status", {})
    return bool(counts.get("failed")) and not counts.get("active")


def _condition(job: Manifest | None, wanted: str) -> Manifest | None:
    conditions = (job or {}).get("status", {}).get("conditions") or ()
    return next((one for one in conditions if one["type"] == wanted and one["status"] == "True"), None)


def is_outdated(job: Manifest, wanted: Manifest) -> bool:
    """Whether a Job was made of another resource than it is now: a Job cannot be changed, only made anew."""
    return pod.template_digest(job["spec"]["template"]) != pod.template_digest(wanted["spec"]["template"])


def _template(
    resource: OmegaVLMDeployment, source: HubSource, observed: Observed, settings: Settings
) -> dict[str, Any]:
    name, wish = resource.metadata.name, resource.spec.pod
    spec: dict[str, Any] = {
        "restartPolicy": "OnFailure",
        "serviceAccountName": names.service_account(name).name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security.POD | {"fsGroup": security.USER, "fsGroupChangePolicy": "OnRootMismatch"},
        "containers": [_container(resource, source, observed, settings)],
        "volumes": [
            {"name": VOLUME, "persistentVolumeClaim": {"claimName": names.cache(name).name}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    if wish.tolerations:
        spec["tolerations"] = [dict(one) for one in wish.tolerations]
    if wish.image_pull_secrets:
        spec["imagePullSecrets"] = [dict(one) for one in wish.image_pull_secrets]
    template: dict[str, Any] = {"metadata": {"labels": labels.pod(name, labels.DOWNLOAD)}, "spec": spec}
    template["metadata"]["annotations"] = {labels.TEMPLATE: digest(template)}
    return template


def _container(
    resource: OmegaVLMDeployment, source: HubSource, observed: Observed, settings: Settings
) -> dict[str, Any]:
    spec = resource.spec
    target = f"{MOUNT}/{directory(source)}"
    return {
        "name": labels.DOWNLOAD,
        "image": spec.image or settings.server_image,
        "imagePullPolicy": spec.pod.image_pull_policy,
        "args": [
            *("download", "--repo", source.repo, "--revision", source.revision, "--target", target),
            *("--progress-port", str(PORT), "--make-room"),
            *(word for name in _in_use(resource, observed) for word in ("--keep", name)),
        ],
        "env": [{"name": "HOME", "value": "/tmp"}, *(dict(one) for one in spec.pod.env if one["name"] != "HOME")],  # noqa: S108
        "ports": [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": security.CONTAINER,
        "volumeMounts": [{"name": VOLUME, "mountPath": MOUNT}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def _in_use(resource: OmegaVLMDeployment, observed: Observed) -> list[str]:
    """The revision that pods run meanwhile: its room must not be taken."""
    current = observed.child(names.deployment(resource.metadata.name))
    containers = current["spec"]["template"]["spec"].get("containers", ()) if current else ()
    paths = [one["value"] for each in containers for one in each.get("env") or () if one["name"] == "MODEL_PATH"]
    return [path.removeprefix(f"{MOUNT}/") for path in paths]
