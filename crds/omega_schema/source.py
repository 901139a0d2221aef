"""Where a model comes from: pvc://CLAIM/PATH, hf://ORG/NAME[@REVISION], oci://IMAGE or path:///IN/IMAGE."""

import re
from dataclasses import dataclass

MAX_SOURCE = 512
"""Longest source, in characters."""

SCHEMES = ("pvc", "hf", "oci", "path")

_PART = r"[A-Za-z0-9_.-]+"
PVC_PATTERN = rf"^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/{_PART})*/?$"
HUB_PATTERN = rf"^hf://[A-Za-z0-9]{_PART}/{_PART}(@[A-Za-z0-9][A-Za-z0-9_./-]*)?$"
IMAGE_PATTERN = (
    r"^oci://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha256:[a-f0-9]{64})?$"
)
PATH_PATTERN = rf"^path:///{_PART}(/{_PART})*/?$"


@dataclass(frozen=True)
class PvcSource:
    """A directory in a PersistentVolumeClaim of the same namespace."""

    claim: str
    path: str
    """Relative to the root of the volume; empty for the root itself."""


@dataclass(frozen=True)
class HubSource:
    """A repository of the Hugging Face Hub, at a branch, tag or commit."""

    repo: str
    revision: str


@dataclass(frozen=True)
class ImageSource:
    """An OCI image whose file system holds the model, mounted as an image volume."""

    image: str


@dataclass(frozen=True)
class PathSource:
    """A directory in the server image."""

    path: str


Source = PvcSource | HubSource | ImageSource | PathSource


def scheme_of(source: str) -> str:
    """What stands before ://, for example hf."""
    return source.partition("://")[0]


def parse_source(source: str) -> Source:
    """Take a source apart.

    Raises:
        ValueError: it has none of the four forms, or contains "..", which would climb out of its volume.
    """
    rest = source.partition("://")[2]
    if ".." in rest:
        raise ValueError(f'the source "{source}" must not contain "..": write the path without it')
    if re.fullmatch(PVC_PATTERN, source):
        claim, _, path = rest.partition("/")
        return PvcSource(claim=claim, path=path.rstrip("/"))
    if re.fullmatch(HUB_PATTERN, source):
        repo, _, revision = rest.partition("@")
        return HubSource(repo=repo, revision=revision or "main")
    if re.fullmatch(IMAGE_PATTERN, source):
        return ImageSource(image=rest)
    if re.fullmatch(PATH_PATTERN, source):
        return PathSource(path=rest.rstrip("/"))
    raise ValueError(
        f'"{source}" is not a source: write pvc://CLAIM/PATH, hf://ORG/NAME[@REVISION], oci://IMAGE or path:///DIRECTORY'
    )
