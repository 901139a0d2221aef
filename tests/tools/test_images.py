"""What decides whether an image is built again."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from cluster import images
from cluster.shell import ClusterError

DOCKERFILE = """\
ARG BASE_IMAGE=scratch
FROM ${BASE_IMAGE} AS code
COPY --chown=1:1 app \\
     extra.txt /opt/
RUN --mount=type=bind,source=data.json,target=/data.json cat /data.json
FROM ${BASE_IMAGE}
COPY --from=code /opt /opt
"""


def test_what_a_dockerfile_copies() -> None:
    """Sources of COPY and bind mounts count, what comes from another stage does not."""
    assert sorted(images.copied(DOCKERFILE)) == ["app", "data.json", "extra.txt"]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """What DOCKERFILE takes in, and a file that it does not."""
    (tmp_path / "app/__pycache__").mkdir(parents=True)
    for name in ("app/main.py", "app/__pycache__/main.pyc", "extra.txt", "data.json", "other.txt"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "rebuilt"),
    [
        ("app/main.py", True),
        ("extra.txt", True),
        ("data.json", True),
        ("other.txt", False),
        ("app/__pycache__/main.pyc", False),
    ],
)
def test_only_what_is_copied_counts(context: Path, changed: str, rebuilt: bool) -> None:
    """An image is built again when something that it holds has changed."""
    before = images.content_key(DOCKERFILE, context, ["A=1"])
    (context / changed).write_text("changed")
    assert (images.content_key(DOCKERFILE, context, ["A=1"]) != before) is rebuilt


def test_new_files_modes_and_arguments_count(context: Path) -> None:
    """So do a file's name, whether it is executable, and build arguments."""
    keys = {images.content_key(DOCKERFILE, context, ["A=1"]), images.content_key(DOCKERFILE, context, ["A=2"])}
    (context / "app/main.py").chmod(0o755)
    keys.add(images.content_key(DOCKERFILE, context, ["A=1"]))
    (context / "app/main.py").rename(context / "app/renamed.py")
    keys.add(images.content_key(DOCKERFILE, context, ["A=1"]))
    assert len(keys) == 4


def test_a_missing_source_is_named(context: Path) -> None:
    """A Dockerfile that copies what is not there fails before the build."""
    with pytest.raises(ClusterError, match=r"copies nothing\.txt"):
        images.content_key("COPY nothing.txt /", context, [])


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("server", "docker.io/library/server:latest"),
        ("omega/server:1", "docker.io/omega/server:1"),
        ("localhost/server", "localhost/server:latest"),
        ("localhost:5000/server:1", "localhost:5000/server:1"),
        ("ghcr.io/omega/server:1", "ghcr.io/omega/server:1"),
    ],
)
def test_names_are_read_as_kubernetes_reads_them(tag: str, name: str) -> None:
    """A tag without registry or version gets the defaults that the kubelet would add."""
    assert images.full_name(tag) == name


def test_the_pause_image_is_a_docker_archive() -> None:
    """The archive names its layer by content and holds the program in it, executable."""
    packed = images.one_file_image("localhost/x:1", "pause", b"program")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        files = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    (manifest,) = json.loads(files["manifest.json"])
    assert manifest == {"Config": "config.json", "RepoTags": ["localhost/x:1"], "Layers": ["layer.tar"]}
    with tarfile.open(fileobj=io.BytesIO(files["layer.tar"])) as layer:
        assert [(entry.name, entry.mode, entry.size) for entry in layer] == [("pause", 0o755, 7)]
    assert json.loads(files["config.json"])["config"]["Entrypoint"] == ["/pause"]
