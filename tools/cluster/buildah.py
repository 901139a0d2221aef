"""buildah with a store of its own: nothing of the user's is read, changed or left mounted."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cluster import mounts
from cluster.places import PLACES
from cluster.shell import ClusterError, run, succeeds

STORE = PLACES.cache / "buildah"
RUN = Path("/run/omega-vlm-buildah")
"""Not below PLACES.run: a build goes on while a cluster ends."""
LOCK = PLACES.cache / "buildah.lock"
KEPT = 3
"""Newest images of one repository that stay: several checkouts on one machine may each be at another version."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def command(*arguments: str | Path) -> tuple[str, ...]:
    """The command line of buildah on our store."""
    return ("buildah", "--root", str(STORE), "--runroot", str(RUN), *(str(word) for word in arguments))


@contextmanager
def in_use() -> Iterator[None]:
    """Keep ``tidy`` away from what a build has mounted."""
    with LOCK.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def _alone() -> Iterator[bool]:
    """Keep builds from beginning; false if one is running."""
    with LOCK.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def tidy() -> None:
    """Take away the containers and mounts that builds leave, above all those that were killed; not while one runs."""
    if not STORE.exists():
        return
    with _alone() as alone:
        if alone:
            run(*command("rm", "--all"))
            mounts.undo(STORE, RUN)
            shutil.rmtree(RUN, ignore_errors=True)


def prune(image: str) -> list[str]:
    """Remove what newer images of the same repository replace, and layers that no image has; not while a build runs.

    Returns:
        The names that were removed.
    """
    with _alone() as alone:
        if not alone:
            return []
        listed = json.loads(run(*command("images", "--json")))
        created = {name: entry["created"] for entry in listed for name in entry["names"] or ()}
        old = superseded(image, created)
        if old:
            run(*command("rmi", *old))
        run(*command("rmi", "--prune"))
        return old


def superseded(image: str, created: Mapping[str, int]) -> list[str]:
    """Names of the repository of ``image`` beyond the newest ``KEPT``; never ``image`` itself.

    Args:
        image: a name with a tag.
        created: the time at which each image was made, in seconds, by its name.
    """
    repository = image.rpartition(":")[0]
    others = [name for name in created if name.rpartition(":")[0] == repository and name != image]
    return sorted(others, key=lambda name: created[name], reverse=True)[KEPT - 1 :]


def has(image: str) -> bool:
    """Whether the store holds ``image``."""
    return succeeds(*command("inspect", "--type=image", image))


def build(dockerfile: Path, image: str, arguments: Iterable[str], context: Path) -> None:
    """Build ``dockerfile`` as ``image``, with output as it comes and layers kept for the next time.

    The host's certificates are handed in as the secret ``ca``: package registries may sit behind a company's authority.

    Raises:
        ClusterError: if the build fails.
    """
    secret = ("--secret", f"id=ca,src={CERTIFICATES}") if CERTIFICATES.exists() else ()
    done = subprocess.run(
        command(
            "--runtime", "runc", "build", "--isolation", "oci", "--network", "host", "--format", "docker", "--layers", *secret,
            *(f"--build-arg={argument}" for argument in arguments),
            "--file", dockerfile, "--tag", image, context,
        ),
        env={**os.environ, "BUILDAH_RUNTIME": "runc"},
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise ClusterError(f"building {image} from {dockerfile} failed: see above")


def layers(image: str) -> list[str]:
    """Digests of the uncompressed layers of ``image``, the lowest first."""
    found: list[str] = json.loads(run(*command("inspect", "--type=image", image)))["OCIv1"]["rootfs"]["diff_ids"]
    return found


def export(image: str, layout: Path) -> tuple[str, ...]:
    """The command line that writes ``image`` to the OCI layout in the directory ``layout``, layers uncompressed."""
    source = f"containers-storage:[overlay@{STORE}+{RUN}]{image}"
    return ("skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers", source, f"oci:{layout}:image")


def make_image(image: str, root: Path, environment: dict[str, str]) -> None:
    """Turn the directory tree ``root`` into an image of one layer."""
    container = run(*command("from", "scratch")).strip()
    try:
        run(*command("add", "--quiet", container, root, "/"))
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        run(*command("config", *variables, "--cmd=python3", container))
        run(*command("commit", "--quiet", container, image))
    finally:
        run(*command("rm", container))
