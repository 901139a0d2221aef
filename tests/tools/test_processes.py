"""Daemons are told from strangers."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from cluster.processes import Daemon, Record


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that we did not start through the module."""
    with subprocess.Popen(["sleep", "100"]) as process:
        yield process
        process.kill()


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory of process records."""
    monkeypatch.setattr(processes, "RECORDS", tmp_path)
    return tmp_path


def write(records: Path, known: Record) -> None:
    """Record ``known`` under the name etcd."""
    (records / "etcd.json").write_text(json.dumps(dataclasses.asdict(known)))


def test_a_reused_process_id_is_a_stranger(sleeper: subprocess.Popen[bytes], records: Path) -> None:
    """A record whose process id now belongs to another process is stale, and that process is left alone."""
    write(records, Record(sleeper.pid, "another-boot/1", "fingerprint"))
    assert processes.record("etcd") is None
    processes.end(["etcd"])
    assert sleeper.poll() is None


def test_a_recorded_process_is_ended(sleeper: subprocess.Popen[bytes], records: Path) -> None:
    """A record that fits its process ends that process, and is gone afterwards."""
    identity = processes.identity(sleeper.pid)
    assert identity
    known = Record(sleeper.pid, identity, "fingerprint")
    write(records, known)
    assert processes.record("etcd") == known
    processes.end(["etcd"])
    assert sleeper.wait() == -15
    assert processes.record("etcd") is None
    assert not list(records.iterdir())


def test_a_process_that_ended_has_no_identity() -> None:
    """Neither a zombie nor a process that is gone counts as running."""
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.read()
        while processes.identity(process.pid):
            pass
    assert processes.identity(process.pid) is None


def test_the_fingerprint_follows_command_and_inputs(tmp_path: Path) -> None:
    """A daemon is started anew when its command line changes, or the content of a file that it reads."""
    config = tmp_path / "config"
    config.write_text("1")
    daemon = Daemon("etcd", ("etcd", "--flag"), (config,))
    before = daemon.fingerprint
    assert dataclasses.replace(daemon, command=("etcd",)).fingerprint != before
    config.write_text("2")
    assert daemon.fingerprint != before
