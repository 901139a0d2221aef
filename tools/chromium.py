"""Debian's Chromium, driven by playwright: what the tests of the playground and its screenshots look through."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from cluster import host_packages


def program() -> Path:
    """Chromium, installed now if this is Debian and we are root.

    Raises:
        ClusterError: it is not there, and cannot be installed; says what to install.
    """
    host_packages.ensure({"chromium": "chromium"})
    found = shutil.which("chromium")
    assert found is not None, "the package chromium has a program of that name"
    return Path(found)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window, which speaks to loopback only."""
    # Chromium's sandbox refuses to run as root. The pages that it is shown here are our own.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program(), args=arguments)
        try:
            yield started
        finally:
            started.close()
