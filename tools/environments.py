"""Python environments beside our own, in the cache directory, one for each content of a requirements file.

They never mix with ours: what they hold was made for other versions of the packages that we have.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path


class NoEnvironment(Exception):  # noqa: N818 - what happened
    """Something cannot run here. The text says why, in one line."""


def path_of(requirements: Path, home: Path) -> Path:
    """Where the environment of a requirements file is below `home`, or would be."""
    return home / f"{requirements.stem}-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]}"


def make(requirements: Path, home: Path, *, bytes_needed: int, bytes_left: int, one_platform: bool = False) -> Path:
    """The environment of a requirements file, installed now unless it is there already.

    Args:
        requirements: a file that pins everything by hash. Nothing is resolved: what is pinned is installed.
        home: directory for environments.
        bytes_needed: what it takes on the disk, with the download.
        bytes_left: on the disk, at least, when it is installed.
        one_platform: whether it has packages for Linux on x86-64 only.

    Raises:
        NoEnvironment: this machine is of another kind, has too little disk, or the packages cannot be had.
    """
    name, path = requirements.stem, path_of(requirements, home)
    complete = path / ".complete"
    if complete.exists():
        return path
    if one_platform and (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise NoEnvironment(f"{name} has packages for Linux on x86-64 only")
    home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free
    if free < bytes_left + bytes_needed:
        raise NoEnvironment(
            f"{name} needs {bytes_needed >> 30} GiB of disk with {bytes_left >> 30} GiB to spare; "
            f"{home} has {free >> 30} GiB"
        )
    print(f"installing {name} into {path}", file=sys.stderr, flush=True)
    try:
        _uv("venv", "--quiet", "--clear", "--python", sys.executable, path)
        _uv("pip", "sync", "--quiet", "--require-hashes", requirements, environment=path)
    except subprocess.CalledProcessError as error:
        raise NoEnvironment(f"{name} cannot be installed: uv ended with {error.returncode}") from None
    complete.touch()
    return path


def _uv(*arguments: str | Path, environment: Path | None = None) -> None:
    """The uv of the development environment, at low priority: whoever installs has time."""
    variables = dict(os.environ) if environment is None else os.environ | {"VIRTUAL_ENV": str(environment)}
    subprocess.run(["nice", "-n", "15", Path(sys.prefix) / "bin" / "uv", *arguments], check=True, env=variables)
