"""The server's container."""

from typing import Any

from omega_operator.desired import resources, security
from omega_operator.desired.config_map import FILE
from omega_operator.desired.model_source import MOUNT, VOLUME, model_volume
from omega_operator.desired.patience import ENDPOINTS_GONE_SECONDS, loading_seconds
from omega_operator.desired.service import PORT, PORT_NAME
from omega_schema.resource import OmegaVLMDeployment
from omega_schema.source import HubSource, parse_source

NAME = "server"
CONFIG_DIRECTORY = "/etc/omega/config"
KEYS_DIRECTORY = "/etc/omega/keys"

OF_THE_HUB = frozenset({"HF_ENDPOINT", "HF_TOKEN"})
"""Variables for the download alone: a server has no need of the token, and another token is no reason to restart one."""


def container(resource: OmegaVLMDeployment, image: str) -> dict[str, Any]:
    """Image, environment, probes, mounts and rights."""
    spec = resource.spec
    return {
        "name": NAME,
        "image": image,
        "imagePullPolicy": spec.pod.image_pull_policy,
        "env": environment(resource),
        "ports": [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}],
        "resources": resources.requirements(spec.gpu, spec.pod),
        "startupProbe": _probe("/ready", period=1, failures=loading_seconds()),
        "readinessProbe": _probe("/ready", period=2, failures=2),
        "livenessProbe": _probe("/live", period=10, failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": ENDPOINTS_GONE_SECONDS}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": security.CONTAINER,
        "volumeMounts": _mounts(resource),
    }


def environment(resource: OmegaVLMDeployment) -> list[dict[str, Any]]:
    """The boot configuration, then what the resource adds; the schema keeps the two apart."""
    spec = resource.spec
    values = {
        "MODEL_PATH": model_volume(parse_source(spec.model.source), resource.metadata.name).path,
        "MODEL_NAME": spec.model.name or resource.metadata.name,
        "MAX_MODEL_LENGTH": str(spec.model.max_length),
        "DTYPE": spec.model.dtype,
        "QUANTIZATION": spec.model.quantization,
        "GPU_COUNT": str(spec.gpu.count),
        "TENSOR_PARALLEL": str(spec.gpu.tensor_parallel),
        "DEVICE": spec.gpu.device,
        "DRAIN_SECONDS": str(spec.rollout.drain_seconds),
        "CONFIG_FILE": f"{CONFIG_DIRECTORY}/{FILE}",
    }
    if spec.auth is not None:
        values["API_KEYS_DIR"] = KEYS_DIRECTORY
    # The root file system is read-only: what libraries cache goes to /tmp, unless the resource knows a better place.
    if all(one["name"] != "HOME" for one in spec.pod.env):
        values["HOME"] = "/tmp"  # noqa: S108 - the pod's own emptyDir
    is_hub = isinstance(parse_source(spec.model.source), HubSource)
    added = [dict(one) for one in spec.pod.env if not (is_hub and one["name"] in OF_THE_HUB)]
    return [{"name": name, "value": value} for name, value in values.items()] + added


def _mounts(resource: OmegaVLMDeployment) -> list[dict[str, Any]]:
    spec = resource.spec
    mounts: list[dict[str, Any]] = [
        {"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True},
        {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 - likewise
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - likewise
    ]
    if spec.auth is not None:
        mounts.append({"name": "keys", "mountPath": KEYS_DIRECTORY, "readOnly": True})
    if model_volume(parse_source(spec.model.source), resource.metadata.name).volume is not None:
        mounts.append({"name": VOLUME, "mountPath": MOUNT, "readOnly": True})
    return mounts


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    """A probe; periods in seconds."""
    return {
        "httpGet": {"path": path, "port": PORT_NAME},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    }
