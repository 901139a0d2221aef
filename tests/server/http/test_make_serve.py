"""`make serve`: the server alone, as README.md has it."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PATIENCE = 480.0
"""Seconds to load the demo model, on a machine that does other things, too."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `make serve` answers, once it is ready; on a free port, because somebody may use the usual one."""
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["make", "serve"],
            cwd=ROOT,
            env={**os.environ, "PORT": "0", "HOST": "127.0.0.1"},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield _when_ready(process, log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
    assert "Finished server process" in log.read_text()


def _when_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        if found := re.search(r"listening on 127\.0\.0\.1 port (\d+)", log.read_text()):
            address = f"http://127.0.0.1:{found[1]}"
            if _status(f"{address}/live") == "ready":
                return address
        time.sleep(0.2)
    pytest.fail(f"not ready in {PATIENCE} s:\n{log.read_text()}")


def _status(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            said: str = json.load(answer)["status"]
            return said
    except OSError:
        return "silent"


def test_it_answers(address: str) -> None:
    """A chat request gets words back."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        (choice,) = json.load(answer)["choices"]
    assert choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
