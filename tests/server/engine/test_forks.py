"""What the fork server, and with it every engine, is told when it starts; and what happens when it hangs."""

import os
import subprocess
import sys

import pytest

from omega_server import forks

SHOW = "import os, omega_server.forks; print(os.environ['GLIBC_TUNABLES'])"


@pytest.mark.parametrize("said", [None, "glibc.malloc.hugetlb=0"])
def test_memory_lies_in_large_pages_unless_somebody_says_otherwise(said):
    """Who uses the fork server hands it the setting on, but keeps one that is there."""
    environ = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    environ |= {"PYTHONPATH": os.pathsep.join(sys.path)} | ({"GLIBC_TUNABLES": said} if said else {})
    shown = subprocess.run([sys.executable, "-c", SHOW], env=environ, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == (said or forks.TUNABLES)


ECHO = """
import os

def main(pipe):
    pipe.send(os.getpid())
    pipe.recv()
"""
HANGS = """
import os, signal
from multiprocessing import forkserver
from omega_server import forks

forks.HANG_SECONDS = 0.2
forks._CONTEXT.set_forkserver_preload([])

def started():
    while True:
        process = forks.Forked("echo", name="echo")
        try:
            process.start()
        except OSError as error:
            print(error)
        else:
            assert process.pipe.recv() == process.pid
            return process

def stop():
    pid = forkserver._forkserver._forkserver_pid
    os.kill(pid, signal.SIGSTOP)
    return pid

first = started()
stopped = stop()
first.kill()
print("ended", first.join() is not None)
second = started()
assert forkserver._forkserver._forkserver_pid != stopped
print("again")
stopped = stop()
third = started()
assert forkserver._forkserver._forkserver_pid != stopped
print("and again")
"""


KILLED = """
import os, signal
from multiprocessing import forkserver
from omega_server import forks

forks._CONTEXT.set_forkserver_preload([])
forks.begin()
for _ in range(30):
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
    process = forks.Forked("echo", name="echo")
    process.start()
    assert process.pipe.recv() == process.pid
    process.pipe.send("end")
    process.join()
"""


def run(code, tmp_path):
    """What a program says that may have its processes echo."""
    (tmp_path / "echo.py").write_text(ECHO)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_a_fork_server_that_ends_when_it_is_asked_is_replaced(tmp_path):
    """Killed a moment before: the process comes from the next one, and nobody hears of it."""
    run(KILLED, tmp_path)


def test_a_fork_server_that_hangs_is_replaced(tmp_path):
    """Stopped while a process of its ends, or while one is asked for: somebody notices, and the next one comes from another."""
    lines = [line for line in run(HANGS, tmp_path) if "fork server" not in line and "Connection" not in line]
    assert lines == ["ended True", "again", "and again"]
