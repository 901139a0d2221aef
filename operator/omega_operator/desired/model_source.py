"""How each kind of model source gets into the pod."""

import re
from dataclasses import dataclass
from typing import Any

from omega_operator.desired import names
from omega_schema.source import HubSource, ImageSource, PathSource, PvcSource, Source

MOUNT = "/models"
"""Where a volume with models is mounted, in the server's pods and in the download's."""

VOLUME = "model"


@dataclass(frozen=True)
class ModelVolume:
    """Where the server finds the model, and the volume that brings it there."""

    path: str
    volume: dict[str, Any] | None = None


def model_volume(source: Source, name: str) -> ModelVolume:
    """The model of one resource."""
    match source:
        case PvcSource(claim, path):
            return ModelVolume(f"{MOUNT}/{path}".rstrip("/"), _claim(claim))
        case HubSource():
            return ModelVolume(f"{MOUNT}/{directory(source)}", _claim(names.cache(name).name))
        case ImageSource(image):
            volume = {"name": VOLUME, "image": {"reference": image, "pullPolicy": "IfNotPresent"}}
            return ModelVolume(MOUNT, volume)
        case PathSource(path):
            return ModelVolume(path)


def directory(source: HubSource) -> str:
    """Directory of one revision in the cache: revisions lie side by side, so that a rollback downloads nothing."""
    return re.sub(r"[^A-Za-z0-9_.-]", "--", f"{source.repo}@{source.revision}")


def _claim(claim: str) -> dict[str, Any]:
    return {"name": VOLUME, "persistentVolumeClaim": {"claimName": claim}}
