"""What a revision consists of: which files, how large, with which checksums.

Asked of the hub once, and kept: a branch may move on while its download is interrupted, or years after, and neither may mix
two commits in one directory.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from httpx2 import InvalidURL
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HFValidationError

from omega_server.download.errors import DownloadError
from omega_server.download.patience import Patience

NOT_WANTED = ("*.bin", "*.pt", "*.pth", "*.gguf")
"""Weights in forms that are not loaded, some of which run code."""

AT_ONCE = 8
"""Files that the hub is asked about at the same time."""


@dataclass(frozen=True)
class HubFile:
    """One file of a revision."""

    path: str
    size: int
    """In bytes."""

    checksum: str
    """SHA-256 in 64 hexadecimal digits, git's SHA-1 in 40; anything else says nothing about the content."""


@dataclass(frozen=True)
class Listing:
    """A revision, as it was when it was asked about."""

    repo: str
    revision: str
    commit: str
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def write(self, place: Path) -> None:
        """Keep it, whole or not at all."""
        new = place.with_suffix(".new")
        new.write_text(json.dumps(asdict(self)))
        new.replace(place)

    @classmethod
    def read(cls, place: Path, repo: str, revision: str) -> "Listing | None":
        """What was kept of this revision; None if nothing was."""
        if not place.is_file():
            return None
        kept = json.loads(place.read_text())
        if (kept["repo"], kept["revision"]) != (repo, revision):
            return None
        return cls(repo, revision, kept["commit"], tuple(HubFile(**file) for file in kept["files"]))


def ask(repo: str, revision: str, patience: Patience) -> Listing:
    """What the hub says.

    Raises:
        DownloadError: it has no such model, or does not let us have it.
    """
    api = HfApi()
    try:
        info = patience.insist(lambda: api.model_info(repo, revision=revision, timeout=30))
    except HFValidationError:
        raise DownloadError(f'"{repo}" is not a repository: write ORG/NAME', 2) from None
    except (ValueError, InvalidURL):
        raise DownloadError("what answers is not a hub: check HF_ENDPOINT", 2) from None
    commit = info.sha or ""
    names = [one.rfilename for one in info.siblings or () if _is_wanted(one.rfilename)]
    if not commit or "config.json" not in names:
        raise DownloadError(f"{repo} at {revision} is not a model: it has no config.json", 2)

    def look(name: str) -> HubFile:
        address = hf_hub_url(repo, name, revision=commit)
        said = patience.insist(lambda: get_hf_file_metadata(address, timeout=30))
        if said.size is None or not said.etag:
            raise DownloadError(
                f"the hub does not say how large {name} is, or has no ETag for it: check HF_ENDPOINT", 2
            )
        return HubFile(name, said.size, said.etag)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Listing(repo, revision, commit, tuple(pool.map(look, names)))


def _is_wanted(name: str) -> bool:
    """Whether to fetch a file.

    Raises:
        DownloadError: its name leads out of the directory.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not re.fullmatch(r"[^\\\x00-\x1f]+", name):
        raise DownloadError("the hub names a file outside of the repository: check HF_ENDPOINT", 2)
    return not any(fnmatch(name, pattern) for pattern in NOT_WANTED)
