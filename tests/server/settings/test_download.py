"""omega-server download against a hub on loopback."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMIT = "a" * 40
FILES = {"config.json": b'{"model_type": "x"}', "model.safetensors": b"weights", "old.bin": b"pickle"}


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as a download needs."""

    def do_HEAD(self) -> None:
        """As GET, without a body."""
        self.do_GET()

    def do_GET(self) -> None:
        """A repository's description, or a file of it."""
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:5] == ["api", "models", "org", "model", "tree"]:
            entries = [{"type": "file", "path": name, "size": len(data), "oid": name} for name, data in FILES.items()]
            self._send(200, json.dumps(entries).encode())
        elif parts[:4] == ["api", "models", "org", "model"] and parts[-1] in ("main", COMMIT):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in FILES.items()]
            self._send(200, json.dumps({"id": "org/model", "sha": COMMIT, "siblings": siblings}).encode())
        elif parts[:3] == ["api", "models", "org"] and parts[3] == "model":
            self._send(404, b"{}", **{"X-Error-Code": "RevisionNotFound"})
        elif parts[:3] == ["api", "models", "org"] and parts[3] == "gated":
            self._send(403, b"{}", **{"X-Error-Code": "GatedRepo"})
        elif parts[:2] == ["org", "model"] and parts[2] == "resolve" and parts[-1] in FILES:
            self._send(200, FILES[parts[-1]], ETag=f'"{parts[-1]}"', **{"X-Repo-Commit": COMMIT})
        else:
            self._send(404, b"{}", **{"X-Error-Code": "RepoNotFound"})

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Be quiet."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    """The hub's address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def download(endpoint: str, directory: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    environ = {"HF_ENDPOINT": endpoint, "HOME": str(directory), "PYTHONPATH": f"{ROOT}/server:{ROOT}/crds"}
    environ |= {"PATH": "/usr/bin:/bin", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-m", "omega_server", "download", *flags]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False, cwd=directory)


def test_download(hub: str, tmp_path: Path) -> None:
    """The files of a revision come, but no pickles; a second run is content with them."""
    for _ in range(2):
        done = download(hub, tmp_path, "--repo", "org/model", "--revision", "main", "--target", "out/deep")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("org/model at main is in out/deep")
    assert (tmp_path / "out/deep/model.safetensors").read_bytes() == b"weights"
    assert not (tmp_path / "out/deep/old.bin").exists()


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ([], 2, "--repo"),
        (["--repo", "org/model"], 2, "--target"),
        (["--repo", "org/model", "--target", "x", "--more"], 2, "--more"),
        (["--repo", "a/b/c/d", "--target", "x"], 2, "ORG/NAME"),
        (["--repo", "org/other", "--target", "x"], 2, "org/other does not exist"),
        (["--repo", "org/gated", "--target", "x"], 2, "HF_TOKEN"),
        (["--repo", "org/model", "--revision", "v9", "--target", "x"], 2, "no revision v9"),
    ],
)
def test_refused(hub: str, tmp_path: Path, flags: list[str], code: int, words: str) -> None:
    """What cannot be had is said in one line, with an exit code that says whether to try again."""
    done = download(hub, tmp_path, *flags)
    last = done.stderr.strip().splitlines()[-1]
    assert (done.returncode, last.startswith("omega-server: ")) == (code, True), done.stderr
    assert words in last
    assert "127.0.0.1" not in last
    assert "Traceback" not in done.stderr


def test_no_network(tmp_path: Path) -> None:
    """A hub that does not answer may answer later."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    done = download(endpoint, tmp_path, "--repo", "org/model", "--target", "x")
    assert done.returncode == 1, done.stderr
    assert "network" in done.stderr
    assert endpoint not in done.stderr.splitlines()[-1]


def test_unknown_command(tmp_path: Path) -> None:
    """The commands are named."""
    command = [sys.executable, "-m", "omega_server", "upload"]
    environ = {"PYTHONPATH": f"{ROOT}/server:{ROOT}/crds"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    commands = "serve, download, convert and bench"
    assert done.stderr.strip() == f'omega-server: there is no command "upload"; commands are {commands}'
