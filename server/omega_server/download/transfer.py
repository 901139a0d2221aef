"""One file from the hub: fetched, gone on with where an earlier process was killed, and checked.

huggingface_hub's own download starts every file anew, and checks sizes only: ADR 24.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import BinaryIO

import httpx2
from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, but loaded lazily

from omega_server.download.checksum import Checksum
from omega_server.download.errors import DownloadError, Stopped
from omega_server.download.listing import HubFile
from omega_server.download.patience import Patience, Stalled
from omega_server.download.room import STATE

STALL_SECONDS = 20.0
"""A connection on which as long nothing comes, or next to nothing, is given up for a new one."""

SLOWEST = 1024
"""Bytes per second that are next to nothing."""

TRIES = 3
"""Times that a file is fetched whose content is not what its checksum says."""

_PIECE = 2**20


class Transfer:
    """Brings the files of one commit into a directory."""

    def __init__(self, repo: str, commit: str, directory: Path, patience: Patience) -> None:
        """Args: what to fetch, where to, and what insists on it."""
        self._repo, self._commit, self._directory, self._patience = repo, commit, directory, patience
        self._progress, self._stop = patience.progress, patience.stop

    def part(self, file: HubFile) -> Path:
        """Where a file lies until it is whole and checked."""
        name = hashlib.sha256(f"{file.path}@{file.checksum}".encode()).hexdigest()[:32]
        return self._directory / STATE / f"{name}.part"

    def fetch(self, file: HubFile) -> None:
        """Make sure that a file is there, whole and right. It appears in the directory only then.

        Raises:
            DownloadError: it cannot be had.
            Stopped: it need not be had any more.
            OSError: it cannot be written.
        """
        final = self._directory / file.path
        if final.is_file() and final.stat().st_size == file.size:
            if self._is_right(final, file):
                return
            self._progress.lost(file.size)
        part = self.part(file)
        for _ in range(TRIES):
            if self._fill(file, part):
                final.parent.mkdir(parents=True, exist_ok=True)
                part.replace(final)
                return
            part.unlink()
            self._progress.lost(file.size)
            self._progress.struggles(f"{file.path} came with a wrong checksum")
        raise DownloadError(
            f"{file.path} came {TRIES} times with a wrong checksum: something on the way from the hub changes it, a proxy "
            "or HF_ENDPOINT",
            1,
        )

    def _is_right(self, final: Path, file: HubFile) -> bool:
        checksum = Checksum(file.checksum, file.size)
        with final.open("rb") as content:
            self._read(content, checksum)
        return checksum.is_right

    def _fill(self, file: HubFile, part: Path) -> bool:
        """Complete a part; returns whether its content is right."""
        checksum = Checksum(file.checksum, file.size)
        with part.open("ab") as out:
            if out.tell() > file.size:
                _empty(out)
            with part.open("rb") as content:
                self._read(content, checksum)
            if out.tell() < file.size:
                self._patience.insist(lambda: self._connect(file, out, checksum))
            out.flush()
            os.fsync(out.fileno())
        return checksum.is_right

    def _connect(self, file: HubFile, out: BinaryIO, checksum: Checksum) -> None:
        """Append the rest of the file, as far as one connection brings it.

        Raises:
            httpx2.HTTPError: it did not bring all of it.
        """
        begun = out.tell()
        headers = build_hf_headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begun}-"} if begun else {})
        address = hf_hub_url(self._repo, file.path, revision=self._commit)
        with get_session().stream("GET", address, headers=headers, timeout=STALL_SECONDS) as response:
            hf_raise_for_status(response)
            if begun and not response.headers.get("Content-Range", "").startswith(f"bytes {begun}-"):
                self._progress.lost(begun)  # it cannot go on in the middle
                _empty(out)
                checksum.restart()
            for chunk in _lively(response.iter_raw()):
                piece = chunk[: file.size - out.tell()]
                out.write(piece)
                out.flush()  # so that it is there after we are killed
                checksum.update(piece)
                self._progress.received(len(piece))
                if self._stop.is_set():
                    raise Stopped
                if out.tell() == file.size:
                    return
        raise httpx2.RemoteProtocolError("the answer was too short")

    def _read(self, content: BinaryIO, checksum: Checksum) -> None:
        """Count and sum up what is on disk already."""
        while piece := content.read(_PIECE):
            checksum.update(piece)
            self._progress.found(len(piece))
            if self._stop.is_set():
                raise Stopped


def _lively(chunks: Iterator[bytes], clock: Callable[[], float] = monotonic) -> Iterator[bytes]:
    """The chunks, as long as they do not merely trickle.

    Raises:
        Stalled: they do.
    """
    began, count = clock(), 0
    for chunk in chunks:
        yield chunk
        count += len(chunk)
        if (passed := clock() - began) >= STALL_SECONDS:
            if count < SLOWEST * passed:
                raise Stalled(f"only {count} bytes came in {passed:.0f} s")
            began, count = clock(), 0


def _empty(out: BinaryIO) -> None:
    out.seek(0)
    out.truncate()
