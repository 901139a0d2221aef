"""Images without a registry: archives into containerd's store, and builds that end there."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shlex
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from cluster import base_image, buildah
from cluster.go_tools import binary
from cluster.node import PAUSE_IMAGE
from cluster.places import CHECKOUT, PLACES
from cluster.processes import record
from cluster.shell import ClusterError, locked, run, say
from cluster.transfer import transfer

KEY_LABEL = "omega-vlm/key"
"""Containerd's label for the content that an image was built from."""


def ctr(*arguments: str | Path) -> tuple[str, ...]:
    """The command line of ctr in the kubelet's part of the store."""
    socket = f"--address={PLACES.containerd_socket}"
    return (str(binary("ctr")), socket, "--namespace=k8s.io", *(str(word) for word in arguments))


def load(archive: Path, key: str = "") -> None:
    """Import an oci-archive or a docker-archive; ``key`` labels what it was built from.

    Raises:
        ClusterError: if the cluster is down or ``archive`` is not an image.
    """
    _need_containerd()
    if not archive.is_file():
        raise ClusterError(f"{archive}: no such file")
    run(*_import(archive, key))


def _import(source: str | Path, key: str = "") -> tuple[str, ...]:
    """Layers are unpacked as they come and not kept a second time."""
    label = (f"--label={KEY_LABEL}={key}",) if key else ()
    return ctr("images", "import", "--local", "--discard-unpacked-layers", *label, source)


def _need_containerd() -> None:
    if record("containerd") is None:
        raise ClusterError("the cluster is down; start it with: make cluster")


def key_of(image: str) -> str | None:
    """The key that ``image`` was imported with; None if it is not there."""
    listed = run(*ctr("images", "list", f"name=={image}")).splitlines()[1:]
    found = re.search(rf"{KEY_LABEL}=(\w+)", listed[0]) if listed else None
    return found[1] if found else None


def ensure_pause() -> None:
    """Have the image that holds each pod's namespaces; it is one static binary, so it is made here."""
    program = binary("pause").read_bytes()
    key = hashlib.sha256(program).hexdigest()[:16]
    if key_of(PAUSE_IMAGE) == key:
        return
    archive = PLACES.state / "pause.tar"
    archive.write_bytes(one_file_image(PAUSE_IMAGE, "pause", program))
    load(archive, key)
    archive.unlink()


def one_file_image(name: str, program: str, content: bytes) -> bytes:
    """A docker-archive whose image runs ``/program`` and holds nothing else."""
    layer = _tar({program: content})
    config = json.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[run("uname", "-m").strip()],
            "os": "linux",
            "config": {"Entrypoint": [f"/{program}"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    return _tar({"layer.tar": layer, "config.json": config, "manifest.json": manifest})


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def build(dockerfile: Path, tag: str, arguments: Iterable[str] = (), context: Path = CHECKOUT) -> bool:
    """Build ``dockerfile`` and import it as ``tag``, unless an image of the same content has that name; whether it did.

    Raises:
        ClusterError: if the cluster is down or the build fails.
    """
    _need_containerd()
    if not dockerfile.is_file():
        raise ClusterError(f"{dockerfile}: no such file")
    image = full_name(tag)
    with buildah.in_use(), locked(PLACES.cache / "build.lock"):  # two builds at once disturb each other
        built = _build(dockerfile, image, arguments, context)
    if built:
        known = set(run(*ctr("images", "list", "--quiet")).split())
        if old := known.intersection(buildah.prune(image)):
            run(*ctr("images", "remove", *sorted(old)))
    return built


def _build(dockerfile: Path, image: str, arguments: Iterable[str], context: Path) -> bool:
    base = base_image.ensure()
    given = (f"BASE_IMAGE={base}", *arguments)
    key = content_key(dockerfile.read_text(), context, given)
    if key_of(image) == key:
        say(f"{image} is up to date")
        return False
    say(f"building {image} from {dockerfile.name}")
    buildah.build(dockerfile, image, given, context)
    say(f"importing {image}")
    transfer(image, _unpacked(), _import("-", key))
    say(f"{image} is ready")
    return True


def full_name(tag: str) -> str:
    """``tag`` as Kubernetes reads it: with a registry and a version."""
    host, slash, _ = tag.partition("/")
    if not slash:
        tag = f"docker.io/library/{tag}"
    elif not (set(host) & {".", ":"} or host == "localhost"):
        tag = f"docker.io/{tag}"
    return tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"


def copied(dockerfile: str) -> Iterator[str]:
    """Paths of the context that the text of a Dockerfile takes in, with COPY, ADD or a bind mount."""
    for line in dockerfile.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True) if re.match(r"\s*(COPY|ADD)\s", line, re.IGNORECASE) else []
        paths = [word for word in words[1:] if not word.startswith("--")]
        if not any(word.startswith("--from=") for word in words):
            yield from paths[:-1]
        for mount in re.findall(r"--mount=(\S*type=bind\S*)", line):
            options = dict(option.partition("=")[::2] for option in mount.split(","))
            if "from" not in options and "source" in options:
                yield options["source"]


def content_key(dockerfile: str, context: Path, arguments: Iterable[str]) -> str:
    """Sixteen hex digits over everything that decides what an image holds."""
    digest = hashlib.sha256("\0".join((dockerfile, *arguments)).encode())
    for pattern in copied(dockerfile):
        found = sorted(context.glob(pattern.strip("/") or "."))
        if not found:
            raise ClusterError(f"the Dockerfile copies {pattern}, which {context} does not hold")
        for path in found:
            for file in [path] if path.is_file() else _files_below(path):
                digest.update(f"\0{file.relative_to(context)}\0{file.stat().st_mode & 0o111}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _files_below(directory: Path) -> list[Path]:
    hidden = {"__pycache__", ".git", ".venv"}
    return sorted(
        path for path in directory.rglob("*") if path.is_file() and not hidden & set(path.relative_to(directory).parts)
    )


def _unpacked() -> Iterator[str]:
    """Chain ids of all layers that containerd has unpacked."""
    for line in run(*ctr("snapshots", "list")).splitlines()[1:]:
        yield line.split()[0]
