"""Draw docs/images/playground*.png: the page at / on a desk and on a phone, with the demo model.

    .venv/bin/python tools/screenshots.py

Starts a server of its own on a free port, asks it what README.md's pictures show, and ends it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from chromium import browser

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
PICTURES = ROOT / "demo" / "pictures"
PATIENCE = 300
"""Seconds for the model to be loaded, or for an answer."""
DESK: dict[str, Any] = {"viewport": {"width": 1200, "height": 760}, "device_scale_factor": 1.5, "color_scheme": "light"}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 760},
    "device_scale_factor": 1.5,
    "color_scheme": "dark",
    "is_mobile": True,
    "has_touch": True,
}


def main() -> None:
    """Draw all."""
    IMAGES.mkdir(exist_ok=True)
    with _server() as url, browser() as chromium:
        for name, device in (("playground", DESK), ("playground-phone", PHONE)):
            page = chromium.new_page(**device)
            page.set_default_timeout(1000 * PATIENCE)
            page.goto(url)
            expect(page.locator("#server")).to_have_attribute("data-state", "ready", timeout=1000 * PATIENCE)
            _converse(page)
            path = IMAGES / f"{name}.png"
            page.screenshot(path=path, animations="disabled")
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KiB")
            page.close()


def _converse(page: Page) -> None:
    """Two questions that are answered, and one that is about to be asked."""
    _settle(page, "04-describe.png", "What does the image show?")
    page.press("#question", "Enter")
    expect(page.locator(".figures b")).to_have_count(6)
    _settle(page, "03-where.png", "Where's the purple square?")


def _settle(page: Page, picture: str, question: str) -> None:
    page.set_input_files("#files", [PICTURES / picture])
    expect(page.locator("#pictures li")).to_have_count(1)
    page.fill("#question", question)


@contextmanager
def _server() -> Iterator[str]:
    """The address of a server with the demo model."""
    command = [sys.executable, "-m", "omega_server", "--model-path", "demo/model", "--model-name", "omega-demo"]
    command += ["--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
        try:
            yield f"http://127.0.0.1:{_port(process, log)}/"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _port(process: subprocess.Popen[bytes], log: Any) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        log.seek(0)
        if found := re.search(r"listening on \S+ port (\d+)", log.read()):
            return found[1]
        time.sleep(0.1)
    log.seek(0)
    raise SystemExit(f"screenshots: the server did not listen:\n{log.read()[-2000:]}")


if __name__ == "__main__":
    main()
