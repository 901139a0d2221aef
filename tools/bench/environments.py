"""Python environments of other servers, in the cache directory, one for each content of a requirements file.

They never mix with ours: each server has the torch and transformers that it was made for.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
FREE_BYTES = 20 * 2**30
"""Left on the disk, at least."""
NEEDED_BYTES = 7 * 2**30
"""What vLLM's environment takes, with the download."""


class NoEnvironment(Exception):  # noqa: N818 - what happened
    """A server cannot run here. The text says why, in one line."""


def cache() -> Path:
    """Where everything that is kept between runs is."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "omega-vlm" / "bench"


def path_of(name: str) -> Path:
    """Where the environment of requirements/NAME.txt is, or would be."""
    content = (REQUIREMENTS / f"{name}.txt").read_bytes()
    return cache() / "environments" / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"


def make(name: str) -> Path:
    """The environment of requirements/NAME.txt, installed now unless it is there already.

    Raises:
        NoEnvironment: this machine is of another kind, has too little disk, or the packages cannot be had.
    """
    path = path_of(name)
    complete = path / ".complete"
    if complete.exists():
        return path
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise NoEnvironment(f"{name} has packages for Linux on x86-64 only")
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < FREE_BYTES + NEEDED_BYTES:
        raise NoEnvironment(
            f"{name} needs {NEEDED_BYTES >> 30} GiB of disk with {FREE_BYTES >> 30} GiB to spare; "
            f"{path.parent} has {free >> 30} GiB"
        )
    print(f"bench: installing {name} into {path} (the first time downloads some GB)", flush=True)
    try:
        _uv("venv", "--quiet", "--clear", "--python", sys.executable, path)
        # Its torch is not the one that a package asks for, so nothing is resolved here: what is pinned is installed.
        _uv("pip", "sync", "--quiet", "--require-hashes", REQUIREMENTS / f"{name}.txt", environment=path)
    except subprocess.CalledProcessError as error:
        raise NoEnvironment(f"{name} cannot be installed: uv ended with {error.returncode}") from None
    complete.touch()
    return path


def _uv(*arguments: str | Path, environment: Path | None = None) -> None:
    """The uv of the development environment, at low priority: whoever installs has time."""
    variables = dict(os.environ) if environment is None else os.environ | {"VIRTUAL_ENV": str(environment)}
    subprocess.run(["nice", "-n", "15", Path(sys.prefix) / "bin" / "uv", *arguments], check=True, env=variables)
