"""How far a download is: counted by its threads, told as lines in the log and, where asked for, over HTTP."""

import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WINDOW = 10.0
"""Seconds over which the rate is taken."""

PATH = "/progress"


@dataclass(frozen=True)
class Report:
    """One moment of a download. The names are those of the JSON that /progress answers with."""

    bytes: int
    """Of the model, on disk and checked so far."""

    total: int
    """Bytes of the model; 0 until the hub has told."""

    fetched: int
    """Bytes that this process has received."""

    rate: int
    """Bytes received per second, lately."""

    silent: int
    """Seconds in which nothing has come."""

    trouble: str | None
    """Why nothing comes, while something is tried again."""


class Progress:
    """The counter. Any thread may count, and any may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: seconds that only grow."""
        self._clock, self._lock = clock, threading.Lock()
        self._bytes = self._total = self._fetched = 0
        self._trouble: str | None = None
        self._moved = clock()
        self._samples = deque([(self._moved, 0)])

    @property
    def fetched(self) -> int:
        """Bytes received."""
        return self._fetched

    @property
    def silent(self) -> float:
        """Seconds in which nothing has come."""
        return self._clock() - self._moved

    def expect(self, total: int) -> None:
        """Say how many bytes the model has."""
        with self._lock:
            self._total = total

    def found(self, count: int) -> None:
        """Count bytes that are on disk already."""
        with self._lock:
            self._bytes += count
            self._moved, self._trouble = self._clock(), None

    def received(self, count: int) -> None:
        """Count bytes that have come."""
        with self._lock:
            self._bytes += count
            self._fetched += count
            self._moved, self._trouble = self._clock(), None
            self._sample()

    def lost(self, count: int) -> None:
        """Count bytes that turned out to be useless."""
        with self._lock:
            self._bytes -= count

    def struggles(self, trouble: str) -> None:
        """Say why nothing comes; forgotten as soon as something does."""
        with self._lock:
            self._trouble = trouble

    def report(self) -> Report:
        """How it stands now."""
        with self._lock:
            self._sample()
            now = self._clock()
            began, before = self._samples[0]
            rate = (self._fetched - before) / max(now - began, 1.0)
            return Report(self._bytes, self._total, self._fetched, round(rate), round(now - self._moved), self._trouble)

    def _sample(self) -> None:
        """Remember how much there was, every half a second, for as long as the window is."""
        now = self._clock()
        if now - self._samples[-1][0] >= WINDOW / 20:
            self._samples.append((now, self._fetched))
        while now - self._samples[0][0] > WINDOW and len(self._samples) > 1:
            self._samples.popleft()


def line(report: Report) -> str:
    """A report for the log."""
    share = f" ({report.bytes * 100 // report.total} %)" if report.total else ""
    words = f"{report.bytes / 2**20:.0f} of {report.total / 2**20:.0f} MiB{share}, {report.rate / 2**20:.1f} MiB/s"
    return f"{words}; nothing has come for {report.silent} s: {report.trouble}" if report.trouble else words


@contextlib.contextmanager
def told(progress: Progress, port: int | None) -> Iterator[None]:
    """Answer GET /progress on a port of every address while the block runs; without a port do nothing."""
    if port is None:
        yield
        return

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != PATH:
                self.send_error(404)
                return
            body = json.dumps(asdict(progress.report())).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """The operator asks every few seconds: no news."""

    server = ThreadingHTTPServer(("", port), Answer, bind_and_activate=False)
    server.socket.close()
    both = socket.has_dualstack_ipv6()
    server.socket = socket.create_server(
        ("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
