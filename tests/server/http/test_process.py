"""The processes of a server: what each has loaded, and that none outlives it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from demo_server import ROOT, Configured, start, until

pytestmark = pytest.mark.timeout(1200)


def parents() -> dict[int, int]:
    """The parent of each process."""
    found = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                found[int(directory.name)] = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has just ended
    return found


def descendants(pid: int) -> list[int]:
    """Of a process, in the order of their generations."""
    known, all_parents = [pid], parents()
    for one in known:
        known += [child for child, parent in all_parents.items() if parent == one]
    return known[1:]


def gone(pid: int) -> bool:
    """Whether a process has ended; somebody who adopted it may not have noticed yet."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def has_torch(pid: int) -> bool:
    """Whether torch's library is loaded into a process."""
    return "libtorch_cpu" in Path(f"/proc/{pid}/maps").read_text()


def test_torch_is_loaded_once(server: Configured) -> None:
    """The process that serves HTTP has no torch, also after requests; engines and prompt processes share the fork server's."""
    assert server.chat("hello").status_code == 200
    assert not has_torch(server.process.pid)
    with_torch = {pid for pid in descendants(server.process.pid) if has_torch(pid)}
    (engine,) = server.client.get("/health").json()["engines"]
    assert engine["pid"] in with_torch
    fork_server = parents()[engine["pid"]]
    assert {parents()[pid] for pid in with_torch - {fork_server}} == {fork_server}
    assert parents()[fork_server] == server.process.pid


def test_what_serves_http_imports_no_torch() -> None:
    """Nor transformers, nor numpy: importing everything that the server's own process needs brings in none of them."""
    code = (
        "import sys, omega_server.process, omega_server.engine.router, omega_server.prompt.builder\n"
        "assert not {'numpy', 'torch', 'torchvision', 'transformers'} & set(sys.modules)"
    )
    path = os.pathsep.join(str(ROOT / project) for project in ("server", "crds"))
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": path})


def test_the_fork_server_may_fork() -> None:
    """What it imports starts no thread and asks for no GPU: neither survives a fork."""
    code = (
        "import os, sys\n"
        "def touched(*_): raise SystemExit('CUDA was touched')\n"
        "def hide(event, arguments):\n"
        "    if event == 'import' and arguments[0] == 'transformers':  # torch has been imported\n"
        "        for name in ('_cuda_init', '_cuda_getDeviceCount'):\n"
        "            setattr(sys.modules['torch']._C, name, touched)\n"
        "sys.addaudithook(hide)\n"
        "import omega_server.preload\n"
        "assert len(os.listdir('/proc/self/task')) == 1, os.listdir('/proc/self/task')\n"
        "assert sys.modules['torch']._C._cuda_init is touched\n"
        "print('clean', flush=True)"
    )
    path = os.pathsep.join(str(ROOT / project) for project in ("server", "crds"))
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={"PYTHONPATH": path})
    assert done.stdout == "clean\n", done.stderr


def test_nothing_outlives_a_server_that_is_killed_while_it_loads(tmp_path: Path) -> None:
    """After SIGKILL all of its processes end by themselves."""
    server = start(tmp_path)
    try:
        until(lambda: len(descendants(server.process.pid)) >= 2)
        left = descendants(server.process.pid)
    finally:
        server.end()
    until(lambda: all(map(gone, left)), 120)


def test_a_server_outlives_its_fork_server_and_nothing_outlives_the_server(tmp_path: Path) -> None:
    """A fork server that dies is replaced, and engines come from the new one; after SIGKILL all processes end by themselves."""
    server = start(tmp_path)
    try:
        until(server.ready)
        (engine,) = server.client.get("/health").json()["engines"]
        first = parents()[engine["pid"]]
        left = [first, *descendants(server.process.pid)]
        os.kill(first, signal.SIGKILL)
        until(lambda: server.client.get("/health").json()["engines"][0]["restarts"] == 1 and server.ready())
        assert server.chat("hello").status_code == 200
        (again,) = server.client.get("/health").json()["engines"]
        assert parents()[again["pid"]] != first
        assert gone(engine["pid"])
        left += descendants(server.process.pid)
    finally:
        server.end()
    until(lambda: all(map(gone, left)), 120)
