"""Python environments of other servers: each has the torch and transformers that it was made for."""

import os
from pathlib import Path

import environments
from environments import NoEnvironment

__all__ = ["NoEnvironment", "cache", "make", "path_of"]

REQUIREMENTS = Path(__file__).parent / "requirements"
NEEDED_BYTES = 7 * 2**30
"""What vLLM's environment takes, with the download."""
LEFT_BYTES = 20 * 2**30
"""Of the disk, at least."""


def cache() -> Path:
    """Where everything that is kept between runs is."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "omega-vlm" / "bench"


def path_of(name: str) -> Path:
    """Where the environment of requirements/NAME.txt is, or would be."""
    return environments.path_of(REQUIREMENTS / f"{name}.txt", cache() / "environments")


def make(name: str) -> Path:
    """The environment of requirements/NAME.txt, installed now unless it is there already.

    Raises:
        NoEnvironment: this machine is of another kind, has too little disk, or the packages cannot be had.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    return environments.make(
        requirements, cache() / "environments", bytes_needed=NEEDED_BYTES, bytes_left=LEFT_BYTES, one_platform=True
    )
