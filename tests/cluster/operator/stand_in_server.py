"""A stand-in for the server, where a test needs faults that the real one does not have: see the variables.

It keeps the contract with the operator: CONFIG_FILE, /live, /ready with the hash of the file that is applied, download.
"""

import hashlib
import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

if sys.argv[1:2] == ["download"]:  # of nothing, and so it has ended
    sys.exit()

CONFIG = Path(os.environ["CONFIG_FILE"])
applied = {"hash": None, "error": None}

if words := os.environ.get("END_WITH"):
    sys.exit(f"loading\n{words}")


def look() -> None:
    """Read the file again, and refuse what the test says."""
    text = CONFIG.read_bytes()
    if json.loads(text)["images"]["maxSize"] == int(os.environ.get("REFUSED_MAX_SIZE", "0")):
        applied["error"] = "images.maxSize: this server does not take it"
    else:
        applied.update(hash=hashlib.sha256(text).hexdigest()[:12], error=None)


class Handler(BaseHTTPRequestHandler):
    """Both probes."""

    def do_GET(self) -> None:
        """Answer with what is applied now."""
        look()
        body = json.dumps({"status": "ready", "config": applied}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Probes are no news."""


def stop(*_: object) -> None:
    """End, after as long as the test says."""
    time.sleep(float(os.environ.get("STAY_SECONDS", "0")))
    os._exit(0)


signal.signal(signal.SIGTERM, stop)
ThreadingHTTPServer(("", 8000), Handler).serve_forever()
