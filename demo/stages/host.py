"""Is this machine able to run the demo: said at once, and not after twenty minutes of compiling."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from stages.console import DemoError

GIB = 1 << 30
DISK_FIRST = 30 * GIB
"""Sources, compiled tools, and the server image as layers and as files."""
DISK_LATER = 3 * GIB
MEMORY = 6 * GIB


def describe(first: bool, own_cluster: bool) -> str:
    """One line about the machine.

    Args:
        first: whether tools and images are still to be built.
        own_cluster: whether the cluster is to run on this machine.

    Raises:
        DemoError: the machine cannot do it.
    """
    if own_cluster and platform.system() != "Linux":
        raise DemoError(
            f"A cluster of our own needs Linux, and this is {platform.system()}.",
            "set KUBECONFIG to a cluster that you have, or run this on Linux.",
        )
    if own_cluster and os.geteuid() != 0:
        raise DemoError(
            "A cluster of our own needs root: it makes a network namespace and runs containers.",
            "sudo make demo, or set KUBECONFIG to a cluster that you have.",
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    disk = shutil.disk_usage(_existing(Path.home() / ".cache")).free
    needed = DISK_FIRST if first else DISK_LATER
    if own_cluster and disk < needed:
        raise DemoError(
            f"{disk / GIB:.0f} GB of disk are free, and {needed / GIB:.0f} GB are needed.",
            "free some, or set XDG_CACHE_HOME to a directory on a larger disk.",
        )
    if own_cluster and memory < MEMORY:
        raise DemoError(
            f"{memory / GIB:.0f} GB of memory are not enough for Kubernetes and a server: {MEMORY / GIB:.0f} GB are.",
            "take a larger machine.",
        )
    return f"{_system()}, {os.cpu_count()} CPUs, {memory / GIB:.0f} GB of memory, {disk / GIB:.0f} GB of disk free"


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _system() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return platform.platform(terse=True)
    return f"{release['NAME'].removesuffix(' GNU/Linux')} {release.get('VERSION_ID', '')}".strip()
