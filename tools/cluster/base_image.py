"""What images are built on: python:3.13-slim-trixie, or its likeness made from Debian packages if no registry answers."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from cluster import buildah
from cluster.places import PLACES
from cluster.shell import run, say, succeeds

REGISTRY_IMAGE = "docker.io/library/python:3.13-slim-trixie"
SUITE = "trixie"
PACKAGES = ("ca-certificates", "netbase", "python3", "python3-venv", "tzdata")
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
REGISTRY_SECONDS = 20


def local_image() -> str:
    """Name of the likeness, by what it is made of."""
    recipe = "\0".join((SUITE, *PACKAGES, *ENVIRONMENT.values()))
    return f"localhost/omega-base:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure() -> str:
    """The name of a base image that buildah has here; what was decided once stays, and so do the images built on it."""
    for image in (local_image(), REGISTRY_IMAGE):
        if buildah.has(image):
            return image
    if succeeds("timeout", str(REGISTRY_SECONDS), *buildah.command("pull", "--quiet", REGISTRY_IMAGE)):
        return REGISTRY_IMAGE
    say(f"no registry has {REGISTRY_IMAGE}: making a base image from Debian packages (about a minute)")
    _make(local_image())
    return local_image()


def _make(image: str) -> None:
    root = PLACES.cache / "base-image"
    shutil.rmtree(root, ignore_errors=True)
    run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, root)
    (root / "usr/bin/python").symlink_to("python3")
    for unused in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        _empty(root / unused)
    buildah.make_image(image, root, ENVIRONMENT)
    shutil.rmtree(root)


def _empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
