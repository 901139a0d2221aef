"""omega-server download: a model from the Hugging Face Hub into a directory. What the operator's cache job runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn


class DownloadError(Exception):
    """The model could not be fetched. The text is one line that says what to do.

    Attributes:
        code: exit code: 2 if asking again is useless, 1 if it may help.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise DownloadError(f"{message}; see omega-server download --help", 2)


def download(argv: Sequence[str]) -> str:
    """Fetch a repository at one revision. Files that are there already are not fetched again.

    The hub's own variables count: HF_ENDPOINT for a mirror, HF_TOKEN for repositories that need one.

    Returns:
        one line about what was done.

    Raises:
        DownloadError: it could not be done.
    """
    parser = _Parser(prog="omega-server download", allow_abbrev=False, description="Fetch a model from the Hub.")
    parser.add_argument("--repo", required=True, metavar="ORG/NAME", help="repository")
    parser.add_argument("--revision", default="main", help="branch, tag or commit (default: main)")
    parser.add_argument("--target", required=True, type=Path, metavar="DIR", help="directory to fill")
    options = parser.parse_args(argv)
    _fetch(options.repo, options.revision, options.target)
    if not (options.target / "config.json").is_file():
        raise DownloadError(f"{options.repo} at {options.revision} is not a model: it has no config.json", 2)
    size = sum(file.stat().st_size for file in options.target.rglob("*") if file.is_file())
    return f"{options.repo} at {options.revision} is in {options.target} ({size / 2**20:.0f} MiB)"


def _fetch(repo: str, revision: str, target: Path) -> None:
    from huggingface_hub import errors, snapshot_download  # noqa: PLC0415 - a bad command line needs none of it

    try:
        target.mkdir(parents=True, exist_ok=True)
        snapshot_download(
            repo, revision=revision, local_dir=target, ignore_patterns=["*.bin", "*.pt", "*.pth", "*.gguf"]
        )
    except errors.GatedRepoError:
        raise DownloadError(f"{repo} needs a token that was granted access: set HF_TOKEN", 2) from None
    except errors.RevisionNotFoundError:
        raise DownloadError(f"{repo} has no revision {revision}", 2) from None
    except errors.RepositoryNotFoundError:
        raise DownloadError(f"{repo} does not exist, or needs a token: set HF_TOKEN", 2) from None
    except errors.HFValidationError:
        raise DownloadError(f'"{repo}" is not a repository: write ORG/NAME', 2) from None
    except OSError as error:
        # Of the hub's own errors too: whatever the network did, trying again may help. Addresses stay inside.
        reason = error.strerror or type(error).__name__
        raise DownloadError(
            f"{repo} could not be fetched ({reason}); check network, HF_ENDPOINT and disk space", 1
        ) from None
