"""Mounts below the cluster's directories: found and undone before anything there is deleted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from cluster.shell import ClusterError, run, succeeds


def below(mountinfo: str, directories: Iterable[Path]) -> list[Path]:
    """Mount points at or below ``directories`` in the text of /proc/self/mountinfo, the last mounted first."""
    tops = tuple(directories)
    points = [Path(_unescape(line.split()[4])) for line in mountinfo.splitlines()]
    return [point for point in reversed(points) if any(point.is_relative_to(top) for top in tops)]


def _unescape(field: str) -> str:
    """The kernel writes blanks and backslashes as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def present(*directories: Path) -> list[Path]:
    """What is mounted below ``directories`` now."""
    return below(Path("/proc/self/mountinfo").read_text(), directories)


def undo(*directories: Path) -> None:
    """Unmount everything below ``directories``.

    Raises:
        ClusterError: if something stays mounted. A deletion would then reach what is mounted: a user's own files.
    """
    for point in present(*directories):
        if not succeeds("umount", point):
            run("umount", "--lazy", point)
    if left := present(*directories):
        raise ClusterError(f"still mounted: {', '.join(map(str, left))}; unmount it, then try again")
