"""Environments of other servers: what is pinned, and when none is made."""

import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from bench import environments
from bench.environments import NoEnvironment

PINNED = environments.REQUIREMENTS / "vllm.txt"


def test_everything_is_pinned_by_hash_and_from_nowhere() -> None:
    """Each package has one version and hashes, and no address stands in the file."""
    text = PINNED.read_text()
    packages = re.findall(r"^(\S+)==\S+.* \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    starts = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert len(packages) == len(starts) > 100
    assert "://" not in text


def test_pinned_versions_are_the_wanted_ones() -> None:
    """What the source files ask for is what is pinned."""
    pinned = dict(re.findall(r"^(\S+)==(\S+)", PINNED.read_text(), re.MULTILINE))
    for source in ("vllm.in", "vllm.override"):
        for name, version in re.findall(
            r"^([\w-]+)==(\S+)", (environments.REQUIREMENTS / source).read_text(), re.MULTILINE
        ):
            assert pinned[name] == version


def test_another_content_is_another_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What changes in the requirements never changes an environment that is there."""
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "peer.txt").write_text("a==1\n")
    first = environments.path_of("peer")
    (tmp_path / "peer.txt").write_text("a==2\n")
    assert first.parent == environments.path_of("peer").parent == tmp_path / "cache/omega-vlm/bench/environments"
    assert first != environments.path_of("peer")


def test_a_full_disk_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is installed where it would leave too little."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 2**40 - 2**34, 2**34))
    with pytest.raises(NoEnvironment, match=r"vllm needs \d+ GiB of disk with 20 GiB to spare; .* has 16 GiB"):
        environments.make("vllm")
    assert not environments.path_of("vllm").exists()


def test_other_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its packages are for one kind of machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(NoEnvironment, match="Linux on x86-64 only"):
        environments.make("vllm")
