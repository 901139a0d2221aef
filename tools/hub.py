"""A hub of models on this machine, with the parts of the Hugging Face Hub's API that a download needs, and with its faults.

It cuts connections, falls silent, changes bytes, asks for a token and sends clients to another host for large files, as it
is told, and counts what it has sent. Tests and tools/downloads.py start it in a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 1024
"""Files of more bytes than this are kept as git's large files: their ETag is a SHA-256."""

_PIECE = 16 * 1024


@dataclass
class Hub:
    """Repositories, faults, and what was asked. Everything may be changed while it runs."""

    repos: Mapping[str, Mapping[str, bytes]]
    """By ORG/NAME: files by their paths."""

    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    """Commits by branch and tag."""

    token: str | None = None
    """What clients must show."""

    gated: bool = False
    """Whether files are for people who were granted access only."""

    rate: float | None = None
    """Bytes per second on each connection."""

    cuts: list[int] = field(default_factory=list)
    """For each of the next answers: bytes of a file after which the connection is cut."""

    silences: list[int] = field(default_factory=list)
    """For each of the next answers: bytes of a file after which nothing more comes."""

    statuses: list[int] = field(default_factory=list)
    """Statuses of the next answers."""

    lies: int = 0
    """How many of the next answers with a large file have a wrong byte."""

    ranges: bool = True
    """Whether it can begin in the middle of a file."""

    elsewhere: bool = False
    """Whether large files are on another host, as behind a content delivery network."""

    sent: Counter[str] = field(default_factory=Counter)
    """Bytes of content sent, by path."""

    shown: set[tuple[str, str | None]] = field(default_factory=set)
    """Host names and Authorization headers that came with requests for content."""

    awake: threading.Event = field(default_factory=threading.Event)
    """Ends the silences."""

    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def served(self, host: str = "127.0.0.1") -> Iterator[str]:
        """Answer on a free port while the block runs; yields the address."""
        server = _Server((host, 0), _Handler)
        server.hub = self
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{host}:{server.server_port}"
        finally:
            self.awake.set()
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    hub: Hub
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """What was sent is counted, not told."""

    @property
    def hub(self) -> Hub:
        """The state."""
        return self.server.hub

    def _answer(self) -> None:
        with self.hub.lock:
            status = self.hub.statuses.pop(0) if self.hub.statuses else 200
        path = self.path.partition("?")[0]
        if status != 200:
            self._refuse(status, None)
        elif found := re.fullmatch("/elsewhere/([^/]+/[^/]+)/(.+)", path):
            self._content(self.hub.repos[found[1]][found[2]], found[2])
        elif self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._strange()
        elif found := re.fullmatch("/api/models/([^/]+/[^/]+)(/revision/(.+))?", path):
            self._describe(found[1], found[3] or "main")
        elif found := re.fullmatch("/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(found[1], found[2], found[3])
        else:
            self._refuse(404, "RepoNotFound")

    def _strange(self) -> None:
        """Without a token the hub does not say whether there is such a repository."""
        if "Authorization" in self.headers:
            self._refuse(401, None, "Invalid credentials in Authorization header")
        else:
            self._refuse(401, "RepoNotFound")

    def _describe(self, repo: str, revision: str) -> None:
        if repo not in self.hub.repos:
            self._refuse(404, "RepoNotFound")
        elif (commit := self._commit(revision)) is None:
            self._refuse(404, "RevisionNotFound")
        else:
            siblings = [{"rfilename": name} for name in self.hub.repos[repo]]
            self._json({"id": repo, "sha": commit, "siblings": siblings, "private": False})

    def _file(self, repo: str, revision: str, name: str) -> None:
        if repo not in self.hub.repos:
            self._refuse(404, "RepoNotFound")
        elif self.hub.gated:
            self._refuse(403, "GatedRepo")
        elif (commit := self._commit(revision)) is None:
            self._refuse(404, "RevisionNotFound")
        elif name not in self.hub.repos[repo]:
            self._refuse(404, "EntryNotFound")
        else:
            data = self.hub.repos[repo][name]
            headers = {"X-Repo-Commit": commit, "ETag": f'"{etag(data)}"'}
            if len(data) > LARGE:
                headers |= {"X-Linked-Etag": f'"{etag(data)}"', "X-Linked-Size": str(len(data))}
            if len(data) > LARGE and self.hub.elsewhere:
                port = self.server.server_port
                headers |= {"Location": f"http://localhost:{port}/elsewhere/{repo}/{name}", "Content-Length": "0"}
                self._head(302, headers)
            else:
                self._content(data, name, headers)

    def _commit(self, revision: str) -> str | None:
        commits = self.hub.revisions
        return revision if revision in commits.values() else commits.get(revision)

    def _content(self, data: bytes, name: str, headers: Mapping[str, str] | None = None) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(wanted[1]) if wanted and self.hub.ranges else 0
        more = {"Content-Length": str(len(data) - begin)}
        if begin:
            more["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        self._head(206 if begin else 200, {**(headers or {}), **more})
        if self.command == "GET":
            self.hub.shown.add((self.headers["Host"].partition(":")[0], self.headers.get("Authorization")))
            self._send(data, begin, name)

    def _send(self, data: bytes, begin: int, name: str) -> None:
        hub, large = self.hub, len(data) > LARGE
        with hub.lock:
            cut = hub.cuts.pop(0) if large and hub.cuts else None
            silence = hub.silences.pop(0) if large and hub.silences else None
            if large and hub.lies:
                hub.lies -= 1
                data = data[:-1] + bytes([data[-1] ^ 1])
        end = min([len(data), *(begin + stop for stop in (cut, silence) if stop is not None)])
        began, place = time.monotonic(), begin
        while place < end:
            piece = data[place : min(place + _PIECE, end)]
            self.wfile.write(piece)
            place += len(piece)
            with hub.lock:
                hub.sent[name] += len(piece)
            if hub.rate:
                time.sleep(max(0.0, (place - begin) / hub.rate - (time.monotonic() - began)))
        if silence is not None and end < len(data):
            hub.awake.wait()
        if end < len(data):
            self._hang_up()

    def _hang_up(self) -> None:
        """As a machine that is switched off: no orderly end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _refuse(self, status: int, code: str | None, message: str | None = None) -> None:
        headers = {"Content-Length": "0"}
        headers |= {"X-Error-Code": code} if code else {}
        headers |= {"X-Error-Message": message} if message else {}
        headers |= {"Retry-After": "1"} if status == 429 else {}
        self._head(status, headers)

    def _json(self, document: Any) -> None:
        body = json.dumps(document).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def handle(self) -> None:
        """Until the client has gone, which is no error."""
        with contextlib.suppress(ConnectionError):
            super().handle()


def etag(data: bytes) -> str:
    """The hub's: SHA-256 of a large file, git's SHA-1 of any other."""
    if len(data) > LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
