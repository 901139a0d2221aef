"""Space on the volume: that of revisions that nobody uses is taken when it is needed, and not before."""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from omega_server.download.errors import DownloadError

STATE = ".omega-download"
"""Directory beside the files of a revision that says: a download made this. Nothing else is ever removed."""

RESERVE = 16 * 2**20
"""Bytes that stay free."""


def make_room(
    target: Path,
    needed: int,
    keep: Collection[str] | None,
    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> list[str]:
    """Make sure that bytes enough are free, if need be by removing downloads beside a directory, the oldest first.

    Args:
        target: directory that needs the room.
        needed: bytes that are still to come.
        keep: names of directories beside it that somebody uses; None: all.
        free: bytes that are free on a directory's volume.

    Returns:
        names of the directories that were removed.

    Raises:
        DownloadError: it does not suffice.
    """
    needed += RESERVE if needed else 0
    removed = []
    for old in _unused(target, keep) if keep is not None else ():
        if free(target) >= needed:
            break
        shutil.rmtree(old)
        removed.append(old.name)
    if (there := free(target)) < needed:
        raise DownloadError(
            f"the volume is too small: {_mib(needed)} are needed, {_mib(there)} are free; raise "
            "spec.model.cache.size, or free some of it",
            1,
        )
    return removed


def _unused(target: Path, keep: Collection[str]) -> list[Path]:
    others = [
        one
        for one in target.parent.iterdir()
        if one != target and one.name not in keep and not one.is_symlink() and (one / STATE).is_dir()
    ]
    return sorted(others, key=lambda one: (one / STATE).stat().st_mtime)


def _mib(count: int) -> str:
    return f"{-(-count // 2**20)} MiB"
