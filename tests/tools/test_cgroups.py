"""What runs in the cluster's cgroups is found, whatever ends meanwhile."""

import shutil
from pathlib import Path

import pytest

from cluster import cgroups


def test_cgroups_that_go_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is read first is the last one there: the others went away, and that is no failure."""
    monkeypatch.setattr(cgroups, "tracking", lambda: tmp_path)
    for number in range(3):
        pod = tmp_path / "kubepods" / f"pod{number}"
        (pod / "container").mkdir(parents=True)
        (pod / "cgroup.procs").write_text(f"{100 + number}\n")
    assert cgroups.processes() == {100, 101, 102}
    read_text = Path.read_text

    def read_and_end_others(file: Path) -> str:
        text = read_text(file)
        for other in file.parent.parent.glob("pod*"):
            if other != file.parent:
                shutil.rmtree(other)
        return text

    monkeypatch.setattr(Path, "read_text", read_and_end_others)
    assert len(cgroups.processes("kubepods")) == 1


def test_cgroups_that_go_while_they_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All go, from the innermost on, also where somebody else was quicker; and then there are none to remove."""
    monkeypatch.setattr(cgroups, "_mounted", lambda: {"pids": tmp_path})
    for number in range(3):
        (tmp_path / cgroups.NAME / f"pod{number}" / "container").mkdir(parents=True)
    rmdir = Path.rmdir

    def rmdir_of_two(path: Path) -> None:
        rmdir(path)
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", rmdir_of_two)
    cgroups.remove()
    assert list(tmp_path.iterdir()) == []
    cgroups.remove()
