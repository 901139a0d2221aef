"""omega-server download: the command line, and the order of things."""

import argparse
import errno
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from huggingface_hub.utils import logging as hub_logging

from omega_server.download.errors import DownloadError
from omega_server.download.listing import HubFile, Listing, ask
from omega_server.download.patience import Patience
from omega_server.download.progress import Progress, line, told
from omega_server.download.room import STATE, make_room
from omega_server.download.transfer import Transfer

AT_ONCE = 4
"""Files that are fetched at the same time."""

TELL_SECONDS = 10.0
"""Time between two lines in the log."""

_FULL = {errno.ENOSPC, errno.EDQUOT}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise DownloadError(f"{message}; see omega-server download --help", 2)


def download(argv: Sequence[str]) -> str:
    """Fetch a repository at one revision. What is there already is checked, and not fetched again.

    The hub's own variables count: HF_ENDPOINT for a mirror, HF_TOKEN for repositories that need one.

    Returns:
        one line about what was done.

    Raises:
        DownloadError: it could not be done.
    """
    options, progress = _options(argv), Progress()
    target: Path = options.target
    # What is on disk is good for going on: there is nothing to finish. As the first process of a container, we would not end.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    try:
        (target / STATE).mkdir(parents=True, exist_ok=True)
        with told(progress, options.progress_port), _alone(target, progress):
            commit, size = _fetch(options, progress)
    except OSError as error:
        if error.errno in _FULL:
            words = "the volume is full: raise spec.model.cache.size, or free some of it"
        else:
            words = f"{target} cannot be written ({error.strerror or type(error).__name__})"
        raise DownloadError(words, 1) from None
    return f"{options.repo} at {options.revision} is in {target} ({size / 2**20:.0f} MiB, commit {commit})"


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="omega-server download", allow_abbrev=False, description="Fetch a model from the Hub.")
    parser.add_argument("--repo", required=True, metavar="ORG/NAME", help="repository")
    parser.add_argument("--revision", default="main", help="branch, tag or commit (default: main)")
    parser.add_argument("--target", required=True, type=Path, metavar="DIR", help="directory to fill")
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="NAME",
        help="with --make-room: a directory beside DIR that is in use, and stays",
    )
    parser.add_argument(
        "--make-room",
        action="store_true",
        help="where space is short, remove other downloads beside DIR, the oldest first",
    )
    parser.add_argument(
        "--progress-port", type=int, metavar="PORT", help="answer GET /progress here (default: nowhere)"
    )
    return parser.parse_args(argv)


@contextmanager
def _alone(target: Path, progress: Progress) -> Iterator[None]:
    """Wait until no other process fills this directory: one whose pod was replaced may still run."""
    with (target / STATE / "lock").open("w") as lock:
        with suppress(OSError):  # some file systems have no locks; there only the checksums protect
            _lock(lock.fileno(), progress)
        yield


def _lock(lock: int, progress: Progress) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress.struggles("another download of this revision still runs")
        fcntl.flock(lock, fcntl.LOCK_EX)
        progress.found(0)


def _fetch(options: argparse.Namespace, progress: Progress) -> tuple[str, int]:
    """Do it; returns the commit and its size in bytes."""
    hub_logging.set_verbosity_error()  # its warnings have addresses
    repo, revision, state, stop = options.repo, options.revision, options.target / STATE, threading.Event()
    patience = Patience(f"{repo} at {revision}", progress, stop)
    kept = state / "listing.json"
    listing = Listing.read(kept, repo, revision) or ask(repo, revision, patience)
    listing.write(kept)
    progress.expect(listing.size)

    transfer = Transfer(repo, listing.commit, options.target, patience)
    there = sum(_size(options.target / file.path) or _size(transfer.part(file)) for file in listing.files)
    for name in make_room(options.target, max(listing.size - there, 0), options.keep if options.make_room else None):
        _say(f"removed {name}, which nobody uses")
    try:
        _all(transfer, listing.files, progress, stop)
    except DownloadError as error:
        if error.code == 2:  # the commit may be gone from the hub: ask anew the next time
            kept.unlink()
        raise
    for part in state.glob("*.part"):
        part.unlink()
    return listing.commit, listing.size


def _all(transfer: Transfer, files: Sequence[HubFile], progress: Progress, stop: threading.Event) -> None:
    """Fetch files side by side; the first that fails ends all."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        largest_first = sorted(files, key=lambda file: -file.size)
        fetches = [pool.submit(transfer.fetch, file) for file in largest_first]
        try:
            _until_done(fetches, progress)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _until_done(fetches: Sequence[Future[None]], progress: Progress) -> None:
    waiting = set(fetches)
    while waiting:
        done, waiting = wait(waiting, timeout=TELL_SECONDS, return_when=FIRST_EXCEPTION)
        _say(line(progress.report()))
        for one in done:
            one.result()


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command prints
