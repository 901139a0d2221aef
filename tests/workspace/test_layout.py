"""The shape of the repository: what a reader may rely on without looking."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked() -> list[Path]:
    """All files that git tracks, relative to the root."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [Path(name) for name in listing.stdout.split("\0") if name]


@pytest.mark.parametrize("folder", ["crds", "operator", "server"])
def test_project_folders_are_not_packages(folder: str) -> None:
    """An operator/__init__.py would shadow the standard library's operator as soon as the root is on sys.path."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_tests_have_no_packages() -> None:
    """Tests are collected by path (importlib mode); an __init__.py would make tests/operator shadow operator."""
    assert [path for path in tracked() if path.parts[0] == "tests" and path.name == "__init__.py"] == []


def test_no_file_names_a_package_index() -> None:
    """Requirements are pinned by hash, and where they come from is the machine's own setting."""
    hosts = re.compile(
        rb"pypi\.org|pythonhosted\.org|proxy\.golang\.org|registry\.npmjs\.org|static\.crates\.io|deb\.debian\.org"
    )
    this = Path(__file__).relative_to(ROOT)
    assert [path for path in tracked() if path != this and hosts.search((ROOT / path).read_bytes())] == []


@pytest.mark.parametrize("name", ["server", "operator", "dev", "uv", "clients"])
def test_requirements_are_pinned_by_hash(name: str) -> None:
    """Every requirement has one version and at least one hash."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"\n(?=\S)", text.replace("\\\n", " ").strip())
    assert [block for block in blocks if not re.match(r"\S+==\S+.*--hash=sha256:", block)] == []


def test_images_keep_to_their_side() -> None:
    """The server image has no kopf and the operator image no torch, by what they install."""
    names = {
        name: {
            line.split("==")[0]
            for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
            if "==" in line
        }
        for name in ("server", "operator")
    }
    assert {"torch", "transformers", "fastapi"} <= names["server"]
    assert {"kopf", "kubernetes"} <= names["operator"]
    assert not {"kopf", "kubernetes"} & names["server"]
    assert not {"torch", "transformers", "fastapi"} & names["operator"]
