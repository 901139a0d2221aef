"""The three images: the operator, the server, and the demo model, which the server gets as an image volume.

A tag is made from the content of an image. So a change of the code is a new name, which rolls the pods, and what did
not change is not built again. The model alone has a tag of its own, because demo/omega-demo.yaml names it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stages.cluster import Cluster, build_image
from stages.console import DemoError
from stages.program import ROOT, run, succeeds

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Image:
    """What an image is built from."""

    name: str
    dockerfile: str
    content: tuple[str, ...]
    """Files and directories of the checkout that the Dockerfile copies."""
    fixed_tag: str = ""

    @cached_property
    def tag(self) -> str:
        """The fixed tag, or else twelve hex digits over everything that the image is built from; the same all along."""
        if self.fixed_tag:
            return self.fixed_tag
        digest = hashlib.sha256()
        for path in (ROOT / self.dockerfile, *(file for top in self.content for file in _files(ROOT / top))):
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
        return digest.hexdigest()[:12]

    def reference(self, registry: str) -> str:
        """The whole name, such as localhost/omega-vlm-server:0123456789ab."""
        return f"{registry}/{self.name}:{self.tag}"


SERVER = Image(
    "omega-vlm-server", "Dockerfile.server", ("crds/omega_schema", "server/omega_server", "requirements/server.txt")
)
OPERATOR = Image(
    "omega-vlm-operator",
    "Dockerfile.operator",
    ("crds/omega_schema", "operator/omega_operator", "requirements/operator.txt"),
)
MODEL = Image("omega-demo-model", "demo/Dockerfile.model", ("demo/model",), fixed_tag="demo")
ALL = (OPERATOR, MODEL, SERVER)


def _files(top: Path) -> list[Path]:
    if top.is_file():
        return [top]
    return sorted(path for path in top.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def registry_of(cluster: Cluster) -> str:
    """Where the cluster looks for images.

    Raises:
        DemoError: the cluster is not ours and no registry was named.
    """
    if cluster.own:
        return "localhost"
    if registry := os.environ.get("DEMO_REGISTRY"):
        return registry.rstrip("/")
    raise DemoError(
        "The cluster that KUBECONFIG names must be able to pull the demo's images.",
        "set DEMO_REGISTRY to a registry that you may push to and the cluster may pull from, such as "
        "registry.example.com/team, or unset KUBECONFIG for a cluster of our own on this machine.",
    )


def provide(cluster: Cluster, image: Image, registry: str, show: Callable[[str], None]) -> None:
    """See to it that the cluster can run ``image``: build it unless it is there.

    Raises:
        DemoError: it cannot be built or pushed.
    """
    if cluster.own and (image.fixed_tag or image.reference(registry) not in _held(cluster)):
        build_image(ROOT / image.dockerfile, image.reference(registry), show)
    elif not cluster.own:
        _push(image.dockerfile, image.reference(registry), show)


def _held(cluster: Cluster) -> set[str]:
    """Names of the images that a node has."""
    nodes = cluster.get("nodes")["items"]
    return {name for node in nodes for image in node["status"].get("images", ()) for name in image.get("names") or ()}


def _push(dockerfile: str, reference: str, show: Callable[[str], None]) -> None:
    advice = "read the lines above; the registry must take pushes from here."
    builder = next((name for name in ("docker", "podman", "buildah") if shutil.which(name)), None)
    if builder is None:
        raise DemoError("No program to build images with.", "install docker, podman or buildah.")
    if succeeds(builder, "manifest", "inspect", reference):
        return
    certificates = ("--secret", f"id=ca,src={CERTIFICATES}") if CERTIFICATES.exists() else ()
    run(builder, "build", *certificates, "-f", dockerfile, "-t", reference, ".", advice=advice, show=show)
    run(builder, "push", reference, advice=advice, show=show)
