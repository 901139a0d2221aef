"""Debian packages that the node needs beside the Go tools."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from cluster.places import PLACES
from cluster.shell import ClusterError, locked, run, say

CNI_PLUGINS = Path("/usr/lib/cni")

PACKAGES = {
    "buildah": "buildah",
    "conntrack": "conntrack",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "runc": "runc",
    "skopeo": "skopeo",
    str(CNI_PLUGINS / "ptp"): "containernetworking-plugins",
}
"""Program to the package that holds it."""


def missing(wanted: Mapping[str, str] = PACKAGES) -> list[str]:
    """Names of the packages whose program is not on this machine."""
    return sorted(package for program, package in wanted.items() if shutil.which(program) is None)


def ensure(wanted: Mapping[str, str] = PACKAGES) -> None:
    """Install what is missing.

    Args:
        wanted: program to the package that holds it.

    Raises:
        ClusterError: if something is missing and this is not Debian, or not root.
    """
    if not missing(wanted):
        return
    with locked(PLACES.cache / "packages.lock"):  # apt-get would refuse to wait for another
        _install(missing(wanted))


def _install(packages: list[str]) -> None:
    if not packages:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError(f"install these packages first: {' '.join(packages)}")
    say(f"installing {' '.join(packages)} (about half a minute)")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-q", env=quiet)
    run("apt-get", "install", "-y", "-q", "--no-install-recommends", *packages, env=quiet)
