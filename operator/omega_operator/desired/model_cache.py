"""A model from the Hugging Face Hub: a volume, and one download per revision that all replicas share."""

from typing import Any

from omega_operator import labels
from omega_operator.desired import names, security
from omega_operator.desired.metadata import manifest
from omega_operator.desired.model_source import MOUNT, VOLUME, directory
from omega_operator.kinds import Manifest
from omega_operator.settings import Settings
from omega_schema.resource import ModelCache, OmegaVLMDeployment
from omega_schema.source import HubSource

ATTEMPTS = 4
"""Times that a download is begun. Each goes on where the one before it ended."""

_USELESS = {
    "action": "FailJob",
    "onExitCodes": {"containerName": labels.DOWNLOAD, "operator": "In", "values": [2]},
}
"""Exit code 2 of the server's commands: the user's fault, where trying again is useless."""


def volume_claim(resource: OmegaVLMDeployment, cache: ModelCache, settings: Settings) -> Manifest:
    """The volume, shared by the replicas on all nodes."""
    spec: dict[str, Any] = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": str(cache.size)}}}
    if cache.storage_class_name:
        spec["storageClassName"] = cache.storage_class_name
    return manifest(names.cache(resource.metadata.name), resource, settings, spec=spec)


def download(resource: OmegaVLMDeployment, source: HubSource, settings: Settings) -> Manifest:
    """The Job that fills the volume, on any node: a download needs no GPU."""
    spec = {
        "backoffLimit": ATTEMPTS - 1,
        "podFailurePolicy": {"rules": [_USELESS]},
        "podReplacementPolicy": "Failed",
        "template": _template(resource, source, settings),
    }
    return manifest(names.download(resource.metadata.name, source), resource, settings, spec=spec)


def is_done(job: Manifest | None) -> bool:
    """Whether the download ended well."""
    return _has_condition(job, "Complete")


def has_failed(job: Manifest | None) -> bool:
    """Whether the download gave up."""
    return _has_condition(job, "Failed")


def _has_condition(job: Manifest | None, wanted: str) -> bool:
    conditions = (job or {}).get("status", {}).get("conditions") or ()
    return any(one["type"] == wanted and one["status"] == "True" for one in conditions)


def _template(resource: OmegaVLMDeployment, source: HubSource, settings: Settings) -> dict[str, Any]:
    name, wish = resource.metadata.name, resource.spec.pod
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": names.service_account(name).name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security.POD | {"fsGroup": security.USER, "fsGroupChangePolicy": "OnRootMismatch"},
        "containers": [_container(resource, source, settings)],
        "volumes": [
            {"name": VOLUME, "persistentVolumeClaim": {"claimName": names.cache(name).name}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    if wish.image_pull_secrets:
        spec["imagePullSecrets"] = [dict(one) for one in wish.image_pull_secrets]
    return {"metadata": {"labels": labels.pod(name, labels.DOWNLOAD)}, "spec": spec}


def _container(resource: OmegaVLMDeployment, source: HubSource, settings: Settings) -> dict[str, Any]:
    spec = resource.spec
    target = f"{MOUNT}/{directory(source)}"
    return {
        "name": labels.DOWNLOAD,
        "image": spec.image or settings.server_image,
        "imagePullPolicy": spec.pod.image_pull_policy,
        "args": ["download", "--repo", source.repo, "--revision", source.revision, "--target", target],
        "env": [{"name": "HOME", "value": "/tmp"}, *(dict(one) for one in spec.pod.env if one["name"] != "HOME")],  # noqa: S108
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": security.CONTAINER,
        "volumeMounts": [{"name": VOLUME, "mountPath": MOUNT}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
