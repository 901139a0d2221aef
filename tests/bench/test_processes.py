"""What processes used, read from a real one."""

import os
import sys
import time
from pathlib import Path

import pytest

from bench.processes import Group, free_port, members, wait_until_ready

BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
ENVIRON = {"PATH": os.environ["PATH"]}


def python(code: str, log: Path, *, pipes: bool = False) -> Group:
    """A Python process that runs this."""
    return Group([sys.executable, "-c", code], ENVIRON, log, pipes=pipes)


def assert_gone(session: int) -> None:
    """Nothing is left of it; whoever takes over a child whose parent has ended needs a moment to notice its end."""
    end = time.monotonic() + 30
    while members(session) and time.monotonic() < end:
        time.sleep(0.05)
    assert members(session) == []


def test_usage_counts_descendants(tmp_path: Path) -> None:
    """CPU time of a living child counts, and so does its memory; a reset forgets what was freed."""
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {BURN!r} + 'print(1, flush=True); input()'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "much = bytearray(200 << 20)\n"
        "del much\n"
        "print('done', flush=True)\n"
        "input()\n"
    )
    group = python(code, tmp_path / "log", pipes=True)
    try:
        assert group.process.stdout is not None
        assert group.process.stdout.readline() == "done\n"
        assert len(members(group.process.pid)) == 2
        used = group.usage()
        assert used.cpu_s >= 0.25
        assert used.peak_rss_bytes > 200 << 20
        group.reset_peak()
        assert group.usage().peak_rss_bytes < 150 << 20
        assert group.usage().cpu_s >= used.cpu_s
    finally:
        group.end()
    assert_gone(group.process.pid)


def test_end_takes_orphans_and_the_stubborn(tmp_path: Path) -> None:
    """A child that outlives its parent and ignores SIGTERM is ended too."""
    code = (
        "import subprocess, sys\n"
        "deaf = 'import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)'\n"
        "child = subprocess.Popen([sys.executable, '-c', deaf], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print('up', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    group = python(code, tmp_path / "log", pipes=True)
    assert group.process.stdout is not None
    group.process.stdout.readline()
    session = group.process.pid
    assert len(members(session)) == 2
    group.end()
    assert_gone(session)


def test_ready(tmp_path: Path) -> None:
    """A server is ready when it answers with 200."""
    port = free_port()
    group = Group(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", tmp_path],
        ENVIRON,
        tmp_path / "log",
    )
    try:
        assert wait_until_ready(group, f"http://127.0.0.1:{port}/", 60) <= time.monotonic()
    finally:
        group.end()


def test_a_server_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    """Nobody waits for what is gone."""
    group = python("import sys; sys.exit('no model here')", tmp_path / "log")
    try:
        with pytest.raises(RuntimeError, match=r"ended with 1:\nno model here"):
            wait_until_ready(group, "http://127.0.0.1:9/", 60)
    finally:
        group.end()
