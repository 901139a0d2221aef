"""A web server full of traps, on an address of loopback that the server under test may fetch from."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.3"
REDIRECTS = {
    "/to-private": "http://127.0.0.1:9/a.png",
    "/to-file": "file:///etc/passwd",
    "/to-credentials": "http://169.254.169.254/latest/meta-data/",
    "/loop": "/loop",
}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path in REDIRECTS:
            self._head(302, Location=REDIRECTS[self.path])
        elif self.path in ("/404", "/500"):
            self._head(int(self.path[1:]))
        elif self.path == "/html":
            self._head(200, **{"Content-Type": "text/html"})
            self.wfile.write(b"<html></html>")
        elif self.path == "/compressed":
            self._head(200, **{"Content-Type": "image/png", "Content-Encoding": "gzip"})
        elif self.path == "/compressed-video":
            self._head(200, **{"Content-Type": "video/mp4", "Content-Encoding": "gzip"})
        elif self.path == "/announced":
            self._head(200, **{"Content-Type": "image/png", "Content-Length": "99999999999"})
        elif self.path == "/announced-video":
            self._head(200, **{"Content-Type": "video/mp4", "Content-Length": "99999999999"})
        elif self.path == "/cut":
            self._head(200, **{"Content-Type": "application/octet-stream", "Content-Length": "100"})
            self.wfile.write(b"\x89PNG")
        elif self.path == "/slow":
            self._head(200, **{"Content-Type": "application/octet-stream"})
            self._drip()
        else:
            self._head(200, **{"Content-Type": "image/png"})
            self._pour()

    def _head(self, status: int, **fields: str) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()

    def _pour(self) -> None:
        while self._sent(b"\0" * 65536):
            pass

    def _drip(self) -> None:
        while self._sent(b"\0"):
            time.sleep(0.3)

    def _sent(self, data: bytes) -> bool:
        try:
            self.wfile.write(data)
        except OSError:
            return False
        return True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@contextmanager
def running() -> Iterator[str]:
    """Its host and port."""
    with ThreadingHTTPServer((HOST, 0), _Handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        try:
            yield f"{HOST}:{site.server_port}"
        finally:
            site.shutdown()
