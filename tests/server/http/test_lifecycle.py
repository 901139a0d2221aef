"""A server's life: it loads, loses an engine, drains and ends; or it says in one line why it cannot begin."""

import http.client
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from demo_server import PATIENCE, ROOT, Server, start, start_only, until

from omega_server.serving import LAST_CALL

pytestmark = pytest.mark.timeout(2400)

HELLO = {"messages": [{"role": "user", "content": "hello"}]}
LONG = {**HELLO, "min_tokens": 1500, "max_tokens": 1500, "stream": True, "stream_options": {"include_usage": True}}
SHORTER = {**LONG, "min_tokens": 600, "max_tokens": 600}


def refused(server: Server) -> tuple[int, str]:
    """Status and code with which the server refuses a request that comes after a while without any."""
    time.sleep(2 * LAST_CALL)
    response = server.client.post("/v1/chat/completions", json=HELLO)
    return response.status_code, response.json().get("error", {}).get("code", "")


@dataclass
class SlowPicture:
    """A picture behind a URL, which is sent only when it is released.

    Attributes:
        url: of the picture.
        asked: set when somebody wants it.
        released: set it to have it sent.
    """

    url: str
    asked: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def slow_picture() -> Iterator[SlowPicture]:
    """Served on loopback."""
    data = (ROOT / "demo" / "pictures" / "01-colour.png").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            picture.asked.set()
            picture.released.wait(PATIENCE)
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        picture = SlowPicture(f"http://127.0.0.1:{web.server_port}/01-colour.png")
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield picture
        picture.released.set()
        web.shutdown()
        thread.join()


def test_life(tmp_path: Path, slow_picture: SlowPicture) -> None:
    """Not ready while loading; a stream outlives its engine; a stopping server finishes what it began."""
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps({"version": "v1", "images": {"allowedCidrs": ["127.0.0.0/8"], "fetchTimeout": "120s"}})
    )
    server = start(tmp_path, LOG_FORMAT="json", QUANTIZATION="int8", DRAIN_SECONDS="600", CONFIG_FILE=str(config))
    try:
        # It listens long before the model is there.
        assert server.client.get("/live").json()["status"] == "loading"
        loading = server.client.post("/v1/chat/completions", json=HELLO)
        assert (loading.status_code, loading.json()["error"]["code"]) == (503, "not_ready")
        assert int(loading.headers["retry-after"]) >= 1
        until(server.ready)

        # An engine that dies under a stream comes back and goes on with it, without the pod noticing.
        with server.client.stream("POST", "/v1/chat/completions", json=SHORTER) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            (engine,) = server.client.get("/health").json()["engines"]
            os.kill(engine["pid"], signal.SIGKILL)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2].removeprefix("data: "))["usage"]["completion_tokens"] == SHORTER["max_tokens"]
        (engine,) = server.client.get("/health").json()["engines"]
        assert (engine["state"], engine["restarts"]) == ("ready", 1)
        assert server.client.post("/v1/chat/completions", json=HELLO).status_code == 200

        # SIGTERM to all of its processes: no new work, the old work is finished, even if its picture is not there yet, then the end.
        picture = [
            {"type": "image_url", "image_url": {"url": slow_picture.url}},
            {"type": "text", "text": "Describe it"},
        ]
        with (
            ThreadPoolExecutor() as other,
            server.client.stream("POST", "/v1/chat/completions", json=LONG) as response,
        ):
            lines = response.iter_lines()
            next(lines)
            kept = http.client.HTTPConnection("127.0.0.1", httpx.URL(server.url).port)
            kept.request("POST", "/v1/chat/completions", json.dumps(LONG), {"Content-Type": "application/json"})
            long = kept.getresponse()
            assert long.readline().startswith(b"data: ")
            early = other.submit(server.chat, picture)
            assert slow_picture.asked.wait(PATIENCE)
            os.killpg(server.process.pid, signal.SIGTERM)
            time.sleep(0.2)
            ready = httpx.get(f"{server.url}/ready", trust_env=False)
            assert (ready.status_code, ready.json()["status"]) == (503, "draining")
            assert httpx.get(f"{server.url}/live", trust_env=False).status_code == 200
            # Who keeps a connection could not know: the last answer says so, and then there is none.
            late = server.client.post("/v1/chat/completions", json=HELLO)
            assert (late.status_code, late.headers["connection"]) == (200, "close")
            until(lambda: refused(server) == (503, "not_ready"))
            slow_picture.released.set()
            assert early.result().status_code == 200
            rest = [line for line in lines if line]
            # So could not who waited for a long answer all the time.
            assert long.read().endswith(b"data: [DONE]\n\n")
            kept.auto_open = 0
            kept.request("POST", "/v1/chat/completions", json.dumps(HELLO), {"Content-Type": "application/json"})
            after = kept.getresponse()
            assert (after.status, after.headers["connection"]) == (200, "close")
        assert rest[-1] == "data: [DONE]"
        assert server.process.wait(PATIENCE) == 0
    finally:
        server.end()
    entries = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {"request_id", "status", "path"} <= next(entry for entry in entries if entry.get("status") == 200).keys()
    # Engines log in the same way; what was converted is told by the first and by the one after it.
    assert [entry["message"][:6] for entry in entries if entry.get("engine") == 0] == ["int8: ", "int8: "]


@pytest.mark.parametrize(
    ("flags", "environment", "reason"),
    [
        (["--nonsense"], {}, "--nonsense"),
        ([], {"MAX_BATCH_SIZE": "none"}, "MAX_BATCH_SIZE"),
        ([], {"MAX_BATCH_SIZE": "0"}, "MAX_BATCH_SIZE"),
        ([], {"CONFIG_FILE": "missing.json"}, "CONFIG_FILE"),
        ([], {"API_KEYS_DIR": "missing"}, "API_KEYS_DIR"),
        (["--model-path", "missing"], {}, "missing is not a checkpoint"),
        (["--gpu-count", "0", "--device", "cuda"], {}, "--device cpu"),
        (["--port", "1", "--host", "203.0.113.1"], {}, "cannot listen"),
    ],
)
def test_bad_settings(tmp_path: Path, flags: list[str], environment: dict[str, str], reason: str) -> None:
    """The user's fault is one line and exit code 2."""
    process = start_only(tmp_path, *flags, **environment)
    try:
        assert process.wait(PATIENCE) == 2
    finally:
        process.kill()
        process.wait()
    log = (tmp_path / "server.log").read_text()
    last = log.splitlines()[-1]
    assert last.startswith("omega-server: ")
    assert reason in last
    assert "Traceback" not in log


def test_damaged_checkpoint(tmp_path: Path) -> None:
    """Weights that cannot be read are the user's fault too, found while loading."""
    model = tmp_path / "model"
    shutil.copytree(ROOT / "demo" / "model", model)
    (model / "model.safetensors").write_bytes(b"broken")
    process = start_only(tmp_path, "--model-path", str(model))
    try:
        assert process.wait(PATIENCE) == 2
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "server.log").read_text().splitlines()[-1].startswith("omega-server: the model at")
