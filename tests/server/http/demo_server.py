"""Real servers with the demo model, on loopback."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[3]
KEY = "right-key"
PATIENCE = 900.0
"""Seconds to load a model on a busy machine."""


@dataclass
class Server:
    """One `omega-server` process.

    Attributes:
        process: the process.
        log: what it writes.
        key: what a client must send; None for no key.
    """

    process: subprocess.Popen[bytes]
    log: Path
    key: str | None = None
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False)

    @property
    def url(self) -> str:
        """Its address; waits until it listens."""
        until(lambda: "listening on" in self.log.read_text() or self.process.poll() is not None)
        found = re.search(r"listening on \S+ port (\d+)", self.log.read_text())
        assert found, self.log.read_text()
        return f"http://127.0.0.1:{found[1]}"

    def ready(self) -> bool:
        """Whether it takes requests; fails if it has ended."""
        assert self.process.poll() is None, self.log.read_text()
        return self.client.get("/ready").status_code == 200

    def chat(self, content: Any, **fields: Any) -> httpx.Response:
        """Ask, with one user message."""
        body = {"messages": [{"role": "user", "content": content}], "temperature": 0, **fields}
        return self.client.post("/v1/chat/completions", json=body)

    def end(self) -> None:
        """End it, kindly or not."""
        self.process.kill()
        self.process.wait()
        self.client.close()

    def stop(self) -> int:
        """End it kindly, and say how it ended."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self.client.close()
        return code


def until(condition: Any, seconds: float = PATIENCE) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def start_only(directory: Path, *flags: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start `omega-server` with the demo model on a free port, whatever comes of it; it logs to server.log."""
    command = [
        sys.executable,
        "-m",
        "omega_server",
        "--model-path",
        str(ROOT / "demo" / "model"),
        "--model-name",
        "demo",
    ]
    command += ["--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", "0", *flags]
    path = os.pathsep.join(str(ROOT / project) for project in ("server", "crds"))
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    with (directory / "server.log").open("wb") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=file, env=environ | environment, cwd=directory, start_new_session=True
        )


def start(directory: Path, *flags: str, key: str | None = None, **environment: str) -> Server:
    """Start a server that is expected to listen."""
    return Server(start_only(directory, *flags, **environment), directory / "server.log", key)


@dataclass
class Configured(Server):
    """A server whose configuration and keys can be changed under it."""

    directory: Path = Path()

    def configure(self, config: dict[str, Any]) -> str | None:
        """Swap the configuration file as the kubelet does, wait until it counts or is refused, and say the refusal."""
        before = self.config()
        write_config(self.directory, config)
        until(lambda: self.config() != before, 10)
        return self.config()["error"]

    def config(self) -> dict[str, Any]:
        """What /ready says about the configuration."""
        body: dict[str, Any] = self.client.get("/ready").json()["config"]
        return body


def write_config(directory: Path, config: dict[str, Any]) -> None:
    """Write config.json through the link ..data, in a new directory each time."""
    version = directory / f"..{time.time_ns()}"
    version.mkdir()
    (version / "config.json").write_text(json.dumps({"version": "v1", **config}))
    link = directory / "..data"
    fresh = directory / "..new"
    fresh.symlink_to(version.name)
    fresh.rename(link)
    if not (directory / "config.json").is_symlink():
        (directory / "config.json").symlink_to("..data/config.json")


BASE: dict[str, Any] = {"images": {"fetchTimeout": "2s", "maxBytes": "2Mi", "allowedCidrs": ["127.0.0.3/32"]}}


def png(image: Image.Image) -> bytes:
    """A picture as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def uri(data: bytes, kind: str = "image/png") -> str:
    """A data: URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def circle(colour: str) -> bytes:
    """A picture that the demo model understands."""
    image = Image.new("RGB", (256, 256), "white")
    ImageDraw.Draw(image).ellipse((72, 72, 120, 120), fill=colour)
    return png(image)


def shown(address: str, words: str = "What colour is the circle?", **more: str | int) -> list[dict[str, Any]]:
    """A picture and a question."""
    return [{"type": "image_url", "image_url": {"url": address, **more}}, {"type": "text", "text": words}]
