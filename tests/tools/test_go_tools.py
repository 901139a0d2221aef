"""Which tools are built, from what, and with which Go."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from cluster import go_tools
from cluster.shell import ClusterError


def test_every_tool_is_a_tool_of_its_module() -> None:
    """Each package that we build is named in the go.mod that pins it, and each go.mod has its go.sum."""
    for tool in go_tools.ALL.values():
        module = go_tools.MODULES / tool.module
        if tool.package != ".":
            assert tool.package in (module / "go.mod").read_text().partition("require")[0], tool.name
            assert (module / "go.sum").exists(), tool.name


def test_no_module_picks_a_toolchain() -> None:
    """A toolchain line would make Go download another Go."""
    for file in go_tools.MODULES.glob("*/go.mod"):
        assert not re.search(r"^toolchain", file.read_text(), re.MULTILINE), file


def test_the_version_matches_the_module() -> None:
    """What the binaries call themselves is what they are built from."""
    assert f"k8s.io/kubernetes v{go_tools.KUBERNETES}" in (go_tools.MODULES / "kubernetes/go.mod").read_text()
    assert f"argoproj/argo-cd/v3 v{go_tools.ARGO_CD}" in (go_tools.MODULES / "argo-cd/go.mod").read_text()


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A copy of the modules that a test may change."""
    return Path(shutil.copytree(go_tools.MODULES, tmp_path / "go"))


def test_the_key_follows_the_content(modules: Path) -> None:
    """A change of go.sum or of the flags changes the key; another module's change does not."""
    etcd = go_tools.ALL["etcd"]
    key = go_tools.content_key(etcd, modules)
    assert key == go_tools.content_key(etcd)
    (modules / "kwok/go.mod").write_text("module other\n")
    assert go_tools.content_key(etcd, modules) == key
    assert go_tools.content_key(dataclasses.replace(etcd, tags="other"), modules) != key
    (modules / "etcd/go.sum").write_text("")
    assert go_tools.content_key(etcd, modules) != key


def test_an_unknown_tool_is_refused() -> None:
    """A misspelt tool is named, along with those that exist."""
    with pytest.raises(ClusterError, match=r"no such tool: kubctl; there are kube-apiserver"):
        go_tools.ensure(["kubctl"])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("go version go1.26.8 linux/amd64", (1, 26, 8)), ("go 1.26", (1, 26)), ("go 1.9.1", (1, 9, 1))],
)
def test_versions_are_numbers(text: str, numbers: tuple[int, ...]) -> None:
    """Versions compare by number, so that 1.9 is older than 1.26."""
    assert go_tools.version(text) == numbers
