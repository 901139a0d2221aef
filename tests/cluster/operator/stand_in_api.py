"""A stand-in for the server that is asked by kubectl omega: it answers with what it was shown, for a key of its Secret only."""

import hashlib
import json
import os
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONFIG = Path(os.environ["CONFIG_FILE"])
METRICS = """\
omega_num_requests_running{engine="0"} 2.0
omega_num_requests_waiting{engine="0"} 1.0
omega_kv_cache_usage_perc{engine="0"} 0.25
omega_engine_ready{engine="0"} 1.0
omega_engine_memory_bytes{engine="0"} 1.073741824e+09
omega_engine_restarts_total{engine="0"} 0.0
omega_generation_tokens_total 100.0
"""


def keys() -> set[str]:
    """The API keys that were mounted; without any, everyone may ask."""
    directory = os.environ.get("API_KEYS_DIR")
    return {file.read_text() for file in Path(directory).iterdir() if file.is_file()} if directory else set()


class Handler(BaseHTTPRequestHandler):
    """The probes, /metrics, and a conversation of one answer."""

    def do_GET(self) -> None:
        """Answer with what there is."""
        if self.path in {"/live", "/ready"}:
            applied = {"hash": hashlib.sha256(CONFIG.read_bytes()).hexdigest()[:12], "error": None}
            self.answer(200, json.dumps({"status": "ready", "config": applied}))
        elif self.knows_key():
            self.answer(200, METRICS if self.path == "/metrics" else json.dumps({"data": [{"id": "stand-in"}]}))

    def do_POST(self) -> None:
        """Say how many pictures came, and the question."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.knows_key():
            content = asked["messages"][-1]["content"]
            parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
            pictures = sum(part["type"] == "image_url" for part in parts)
            text = f"{pictures} pictures: {parts[-1]['text']}"
            events = [{"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}]
            self.answer(200, "".join(f"data: {json.dumps(one)}\n\n" for one in events) + "data: [DONE]\n\n")

    def knows_key(self) -> bool:
        """Whether the caller may ask; if not, it has been told so."""
        known, given = keys(), self.headers.get("Authorization", "").removeprefix("Bearer ")
        if known and given not in known:
            self.answer(401, json.dumps({"error": {"message": "not a key of this server", "code": "invalid_api_key"}}))
            return False
        return True

    def answer(self, status: int, text: str) -> None:
        """One whole answer."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Probes are no news."""


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ThreadingHTTPServer(("", 8000), Handler).serve_forever()
