"""omega-server download against a hub on loopback, through its faults."""

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import COMMIT, Hub

ROOT = Path(__file__).parents[3]
WEIGHTS = random.Random(1).randbytes(6_000_000)
MODEL = {
    "config.json": b'{"model_type": "x"}',
    "model.safetensors": WEIGHTS,
    "deep/er.json": b"{}",
    "empty.txt": b"",
    "old.bin": b"pickle",
}
WANTED = {name: data for name, data in MODEL.items() if name != "old.bin"}
SIZE = sum(map(len, WANTED.values()))
LITTLE = 1.5 * SIZE
"""Bytes sent in all, if only what was under way was lost; the figure that counts is measured by tools/downloads.py."""


@pytest.fixture
def hub() -> Hub:
    """A hub without faults."""
    return Hub({"org/model": MODEL, "org/data": {"data.csv": b"1"}})


@pytest.fixture
def endpoint(hub: Hub) -> Iterator[str]:
    """Its address."""
    with hub.served() as address:
        yield address


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def begin(endpoint: str, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts the command, without flags for org/model into out."""

    def run(*flags: str, **variables: str) -> "subprocess.Popen[str]":
        environ = {"HF_ENDPOINT": endpoint, "HOME": str(tmp_path), "PYTHONPATH": f"{ROOT}/server:{ROOT}/crds"}
        environ |= {"PATH": os.environ["PATH"]} | variables
        given = flags or ("--repo", "org/model", "--target", "out")
        command = [sys.executable, "-W", "error", "-m", "omega_server", "download", *given]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path)

    return run


@pytest.fixture
def download(begin: Callable[..., "subprocess.Popen[str]"]) -> Run:
    """Runs the command to its end."""

    def run(*flags: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        process = begin(*flags, **variables)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


def content(directory: Path) -> dict[str, bytes]:
    """The files of a directory that are not the download's own."""
    files = (file for file in directory.rglob("*") if file.is_file() and ".omega-download" not in file.parts)
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


def kill_at(hub: Hub, process: "subprocess.Popen[str]", sent: int) -> None:
    """Kill a download once the hub has sent so many bytes."""
    while hub.sent.total() < sent:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()


def test_download(hub: Hub, download: Run, tmp_path: Path) -> None:
    """The files of a revision come, but no pickles; a second run checks them and fetches nothing."""
    for _ in range(2):
        done = download("--repo", "org/model", "--revision", "main", "--target", "out/deep")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("org/model at main is in out/deep")
        assert COMMIT in done.stdout
    assert content(tmp_path / "out/deep") == WANTED
    assert hub.sent.total() == SIZE


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--revision", "main"], 2, "--repo"),
        (["--repo", "org/model"], 2, "--target"),
        (["--repo", "org/model", "--target", "x", "--more"], 2, "--more"),
        (["--repo", "a/b/c/d", "--target", "x"], 2, "ORG/NAME"),
        (["--repo", "org/other", "--target", "x"], 2, "org/other at main does not exist, or is private"),
        (["--repo", "org/data", "--target", "x"], 2, "no config.json"),
        (["--repo", "org/model", "--revision", "v9", "--target", "x"], 2, "no such revision: org/model at v9"),
    ],
)
def test_refused(download: Run, flags: list[str], code: int, words: str) -> None:
    """What cannot be had is said in one line, with an exit code that says whether to try again."""
    assert_refused(download(*flags), code, words)


def assert_refused(done: "subprocess.CompletedProcess[str]", code: int, words: str) -> None:
    """It ended with a code and one line, without an address or a traceback."""
    last = done.stderr.strip().splitlines()[-1]
    assert (done.returncode, last.startswith("omega-server: ")) == (code, True), done.stderr
    assert words in last
    assert "127.0.0.1" not in done.stderr
    assert "Traceback" not in done.stderr


def test_gated(hub: Hub, download: Run) -> None:
    """A repository for people who were granted access says so."""
    hub.gated = True
    assert_refused(download(), 2, "org/model at main is gated: ask the hub for access")


def test_token(hub: Hub, download: Run, tmp_path: Path) -> None:
    """A private hub gets the token of HF_TOKEN; without one, and with a wrong one, the user is told what to set."""
    hub.token = "hf_right"
    assert_refused(download(), 2, "or is private: correct its name, or set HF_TOKEN")
    wrong = download(HF_TOKEN="hf_wrong")
    assert_refused(wrong, 2, "the hub refuses the token (401) for org/model at main: correct HF_TOKEN")
    assert "hf_wrong" not in wrong.stderr
    assert download(HF_TOKEN="hf_right").returncode == 0
    assert content(tmp_path / "out") == WANTED


def test_the_token_stays_with_the_hub(hub: Hub, download: Run) -> None:
    """Another host, to which the hub sends for large files, does not get the token."""
    hub.token, hub.elsewhere = "hf_right", True
    assert download(HF_TOKEN="hf_right").returncode == 0
    assert hub.shown == {("127.0.0.1", "Bearer hf_right"), ("localhost", None)}


@pytest.mark.parametrize("address", ["nonsense", "ftp://127.0.0.1/x"])
def test_no_address(download: Run, address: str) -> None:
    """An endpoint that is none is refused at once."""
    assert_refused(download(HF_ENDPOINT=address), 2, "HF_ENDPOINT must be an address")


def test_cut_connections(hub: Hub, download: Run, tmp_path: Path) -> None:
    """A cut connection costs what was under way, not what had come."""
    hub.rate, hub.cuts, hub.statuses = 5_000_000, [1, 2_000_000, 2_500_000, 0, 1_000_000], [503, 429, 500]
    done = download()
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "out") == WANTED
    assert hub.sent.total() <= LITTLE


def test_a_hub_that_cannot_go_on(hub: Hub, download: Run, tmp_path: Path) -> None:
    """A hub that always begins at the beginning is taken as it is."""
    hub.rate, hub.cuts, hub.ranges = 5_000_000, [1_000_000], False
    assert download().returncode == 0
    assert content(tmp_path / "out") == WANTED
    assert hub.sent.total() == SIZE + 1_000_000


def test_wrong_bytes(hub: Hub, download: Run, tmp_path: Path) -> None:
    """A file that is not what its checksum says is fetched again, and never appears."""
    hub.lies = 1
    assert download().returncode == 0
    assert content(tmp_path / "out") == WANTED
    (tmp_path / "out/model.safetensors").unlink()
    hub.lies = 3
    assert_refused(download(), 1, "model.safetensors came 3 times with a wrong checksum")
    assert not (tmp_path / "out/model.safetensors").exists()


def test_damage_on_the_disk(hub: Hub, download: Run, tmp_path: Path) -> None:
    """A file that was changed on the volume is found and fetched again, alone."""
    assert download().returncode == 0
    hub.sent.clear()
    for name in ("model.safetensors", "config.json"):
        file = tmp_path / "out" / name
        file.write_bytes(b"x" + file.read_bytes()[1:])
    assert download().returncode == 0
    assert content(tmp_path / "out") == WANTED
    assert set(hub.sent) == {"model.safetensors", "config.json"}


def test_a_branch_that_moves_on(hub: Hub, begin: Any, download: Run, tmp_path: Path) -> None:
    """A download that was begun ends with the commit that it began with, and one that is finished keeps it."""
    hub.rate = 1_000_000
    killed = begin()
    kill_at(hub, killed, 100_000)
    hub.rate, hub.revisions = None, {"main": "f" * 40, "v1": COMMIT}
    for _ in range(2):
        done = download()
        assert done.returncode == 0, done.stderr
        assert COMMIT in done.stdout


def test_killed(hub: Hub, begin: Any, download: Run, tmp_path: Path) -> None:
    """What a killed process has fetched is not fetched again: tools/downloads.py does this 20 times."""
    hub.rate = 3_000_000
    for _ in range(2):
        kill_at(hub, begin(), hub.sent.total() + SIZE * 2 // 5)
    assert not (tmp_path / "out/model.safetensors").exists()
    hub.rate = None
    assert download().returncode == 0
    assert content(tmp_path / "out") == WANTED
    assert hub.sent.total() <= LITTLE


def test_two_at_once(hub: Hub, begin: Any, tmp_path: Path) -> None:
    """A second process waits for the first, and fetches nothing."""
    hub.rate = 5_000_000
    for process in [begin(), begin()]:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert content(tmp_path / "out") == WANTED
    assert hub.sent.total() == SIZE


def test_progress(hub: Hub, begin: Any, tmp_path: Path) -> None:
    """GET /progress tells bytes, rate, and why nothing comes; SIGTERM ends the process at once."""
    hub.rate = 500_000
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = begin("--repo", "org/model", "--target", "out", "--progress-port", str(port))

    def ask() -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=5) as answer:
            return json.load(answer)

    while hub.sent.total() < 900_000:
        assert process.poll() is None
        time.sleep(0.01)
    said = ask()
    assert said["total"] == SIZE
    assert 500_000 < said["bytes"] < SIZE
    assert 0 < said["rate"] < 700_000
    assert said["trouble"] is None
    process.terminate()
    _, err = process.communicate(timeout=5)
    assert process.returncode == 128 + signal.SIGTERM, err


def test_the_part_is_checked(hub: Hub, begin: Any, download: Run, tmp_path: Path) -> None:
    """What a crashed machine left half written is found, thrown away and fetched again."""
    hub.rate = 1_000_000
    kill_at(hub, begin(), 500_000)
    (part,) = (tmp_path / "out/.omega-download").glob("*.part")
    part.write_bytes(b"\0" * part.stat().st_size)
    hub.rate = None
    assert download().returncode == 0
    assert (
        hashlib.sha256((tmp_path / "out/model.safetensors").read_bytes()).digest() == hashlib.sha256(WEIGHTS).digest()
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="a small volume can be mounted by root only")
def test_room(hub: Hub, download: Run, tmp_path: Path) -> None:
    """A volume that is too small is told before anything is fetched; room is taken from downloads that nobody uses."""
    (tmp_path / "out").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=26m", "tmpfs", tmp_path / "out"], check=True)
    try:
        for name in ("old", "used", "foreign"):
            (tmp_path / "out" / name).mkdir()
            (tmp_path / "out" / name / "weights").write_bytes(bytes(2**21))
        for name in ("old", "used"):
            (tmp_path / "out" / name / ".omega-download").mkdir()
        flags = ("--repo", "org/model", "--target", "out/new")
        assert_refused(download(*flags), 1, "the volume is too small: 22 MiB are needed, 20 MiB are free")
        assert hub.sent.total() == 0
        assert download(*flags, "--make-room", "--keep", "used").returncode == 0
        assert {one.name for one in (tmp_path / "out").iterdir()} == {"new", "used", "foreign"}
    finally:
        subprocess.run(["umount", tmp_path / "out"], check=True)


def test_unknown_command(tmp_path: Path) -> None:
    """The commands are named."""
    command = [sys.executable, "-m", "omega_server", "upload"]
    environ = {"PYTHONPATH": f"{ROOT}/server:{ROOT}/crds"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    commands = "serve, download, convert and bench"
    assert done.stderr.strip() == f'omega-server: there is no command "upload"; commands are {commands}'
