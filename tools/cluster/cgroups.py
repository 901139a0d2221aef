"""One cgroup holds all that the cluster started, so that ending it misses nothing and hits nothing else."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from cluster.shell import ClusterError, wait_until

NAME = "omega-vlm"
MOUNT_OPTIONS = {"rw", "nosuid", "nodev", "noexec", "relatime", "xattr"}
"""Whatever else a version 1 mount says names its controllers."""


def hierarchies(mounts: str) -> dict[str, Path]:
    """Mount points of the cgroup hierarchies in the text of /proc/self/mounts: by controller, "" for version 2."""
    found: dict[str, Path] = {}
    for line in mounts.splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found[""] = Path(where)
        elif kind == "cgroup":
            found.update(dict.fromkeys(set(options.split(",")) - MOUNT_OPTIONS, Path(where)))
    return found


def _mounted() -> dict[str, Path]:
    return hierarchies(Path("/proc/self/mounts").read_text())


def tracking() -> Path:
    """The hierarchy that tells which processes are ours: both runc and we put every process into it."""
    mounted = _mounted()
    root = mounted.get("pids") or mounted.get("")
    if root is None:
        raise ClusterError("no cgroup hierarchy with the pids controller is mounted")
    return root / NAME


def daemons() -> Path:
    """Where the daemons and the containers' shims go."""
    return tracking() / "daemons"


def create() -> None:
    """Make the cluster's cgroup in every hierarchy; the kubelet puts pods below it."""
    for root in set(_mounted().values()):
        group = root / NAME
        group.mkdir(exist_ok=True)
        _delegate(root)
        for inherited in ("cpuset.cpus", "cpuset.mems"):
            # A version 1 cpuset starts empty, and an empty one takes no process.
            if (
                (group / inherited).exists()
                and (root / inherited).exists()
                and not (group / inherited).read_text().strip()
            ):
                (group / inherited).write_text((root / inherited).read_text())
    daemons().mkdir(exist_ok=True)


def _delegate(root: Path) -> None:
    """With version 2 a cgroup has only the controllers that its parent passes on, and the kubelet asks for all."""
    available = root / "cgroup.controllers"
    if available.exists():
        for controller in available.read_text().split():
            for parent in (root, root / NAME):
                (parent / "cgroup.subtree_control").write_text(f"+{controller}")


def processes(below: str = "") -> set[int]:
    """Process ids of what runs in the cluster (daemons, shims, containers) or in the part that ``below`` names."""
    found: set[int] = set()
    for directory, _, _ in os.walk(tracking() / below):  # which passes over what goes away meanwhile
        try:
            found.update(int(pid) for pid in (Path(directory) / "cgroup.procs").read_text().split())
        except OSError:
            continue  # a container's cgroup went away while we looked
    return found


def kill(below: str = "", seconds: float = 10) -> None:
    """Kill every process in the cluster's cgroup, or in the part of it that ``below`` names."""

    def gone() -> bool:
        pids = processes(below)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it ended by itself
        return not pids

    wait_until(gone, "the cluster's processes to end", seconds, pause=0.05)


def remove() -> None:
    """Remove the cluster's cgroups; nothing may run in them."""
    for root in set(_mounted().values()):
        for directory, _, _ in os.walk(root / NAME, topdown=False):
            _rmdir(Path(directory))


def _rmdir(path: Path, attempts: int = 50) -> None:
    """The kernel lets go of a cgroup a moment after its last process."""
    for attempt in range(attempts):
        try:
            path.rmdir()
        except FileNotFoundError:
            return  # it went away while we looked
        except OSError:
            if attempt == attempts - 1:
                raise
            time.sleep(0.02)
        else:
            return
