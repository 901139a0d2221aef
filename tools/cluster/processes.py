"""Daemons: started detached, recognised later by process id and start time, ended without touching anyone else's."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.places import PLACES
from cluster.shell import ClusterError, tail

RECORDS = PLACES.run / "processes"


@dataclass(frozen=True)
class Daemon:
    """A program and everything that it reads only once, when it starts."""

    name: str
    command: tuple[str, ...]
    inputs: tuple[Path, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Changes when a running daemon has to be started anew."""
        digest = hashlib.sha256("\0".join(self.command).encode())
        for path in self.inputs:
            digest.update(path.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Record:
    """A daemon that was started."""

    pid: int
    identity: str
    """Boot and start time: process ids are used again, this is not."""
    fingerprint: str

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return identity(self.pid) == self.identity


def identity(pid: int) -> str | None:
    """Boot id and start time in clock ticks of the process ``pid``; None if none runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the name in parentheses and may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    state, start_time = fields[0], fields[19]
    return None if state in "ZX" else f"{boot_id()}/{start_time}"


def boot_id() -> str:
    """Names the present boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def record(name: str) -> Record | None:
    """What is known of the daemon ``name``; None if it was never started or is dead."""
    path = RECORDS / f"{name}.json"
    if not path.exists():
        return None
    known = Record(**json.loads(path.read_text()))
    return known if known.alive else None


def ensure(daemon: Daemon, cgroup: Path) -> bool:
    """Start ``daemon``, or start it anew where its command or inputs have changed; whether it was started."""
    running = record(daemon.name)
    if running and running.fingerprint == daemon.fingerprint:
        return False
    if running:
        end([daemon.name])
    pid = _start(daemon, cgroup)
    started = identity(pid)
    if started is None:
        raise ClusterError(f"{daemon.name} ended at once:\n{tail(log_of(daemon.name).read_text())}")
    RECORDS.mkdir(parents=True, exist_ok=True)
    path = RECORDS / f"{daemon.name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(Record(pid, started, daemon.fingerprint))))
    partial.rename(path)
    return True


def _start(daemon: Daemon, cgroup: Path) -> int:
    PLACES.log.mkdir(parents=True, exist_ok=True)
    # The shell joins the cgroup before it becomes the daemon: no child of it can be missed at the end.
    join = f'echo $$ > "{cgroup}/cgroup.procs" && exec "$@"'
    with log_of(daemon.name).open("ab") as log:
        return subprocess.Popen(
            ["sh", "-c", join, daemon.name, *daemon.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        ).pid


def end(names: Iterable[str], seconds: float = 10) -> None:
    """End the daemons ``names`` together: asked first, killed after ``seconds``."""
    running = {name: known for name in names if (known := record(name))}
    for known in running.values():
        os.kill(known.pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while alive := [known for known in running.values() if known.alive]:
        if time.monotonic() > deadline:
            for known in alive:
                os.kill(known.pid, signal.SIGKILL)
        time.sleep(0.05)
    for name in running:
        (RECORDS / f"{name}.json").unlink()


def check_alive(name: str) -> None:
    """Raise ClusterError with the end of its log if the daemon ``name`` has died."""
    if record(name) is None:
        log = log_of(name)
        raise ClusterError(f"{name} has died; the end of {log}:\n{tail(log.read_text())}")


def log_of(name: str) -> Path:
    """Standard output and error of all starts of a daemon since the cluster is up."""
    return PLACES.log / f"{name}.log"
