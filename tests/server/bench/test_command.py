"""omega-server bench as people run it, against real servers."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "http"))  # real servers are started there

from demo_server import KEY, ROOT, Server, start, until

from omega_server.bench import command
from omega_server.bench.command import BenchError
from omega_server.bench.workload import SIZES, generate


@dataclass(frozen=True)
class Ended:
    """How the command ended."""

    code: int
    out: str
    err: str


def bench(*arguments: str, **environment: str) -> Ended:
    """Run the command in a process of its own."""
    environ = {"PYTHONPATH": f"{ROOT / 'server'}:{ROOT / 'crds'}", "PATH": "", **environment}
    line = [sys.executable, "-m", "omega_server", "bench", *arguments]
    done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False, timeout=300)
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ready server with a key."""
    started = start(tmp_path_factory.mktemp("server"), key=KEY, API_KEY=KEY)
    try:
        until(started.ready)
        yield started
    finally:
        code = started.stop()
    assert code == 0, started.log.read_text()


def test_load(server: Server, tmp_path: Path) -> None:
    """All requests are answered with all their tokens, and the file has what the table says."""
    file = tmp_path / "figures.json"
    flags = ("--requests", "8", "--concurrency", "4", "--fixed-length", "--json", str(file))
    ended = bench(server.url, *flags, API_KEY=KEY)
    assert ended.code == 0, ended.err
    report = json.loads(file.read_text())
    figures = report["figures"]
    assert report["model"] == "demo"
    assert (figures["requests"], figures["errors"]) == (8, {})
    assert figures["output_tokens"] == sum(request.tokens for request in generate(SIZES["small"], 8, 0))
    assert figures["output_tokens_per_s"] == pytest.approx(figures["output_tokens"] / figures["seconds"])
    assert 0 < figures["ttft_p50_s"] <= figures["ttft_p99_s"] < figures["seconds"]
    assert 0 <= figures["itl_p50_s"] <= figures["itl_p99_s"] < figures["seconds"]
    assert f"{figures['output_tokens']} tokens" in ended.out
    assert "8/8 requests" in ended.err


def test_rate_and_v1(server: Server) -> None:
    """Requests may come at times of their own, and an address may end in /v1 as other clients want it."""
    ended = bench(server.url + "/v1/", "--requests", "4", "--rate", "50", "--api-key", KEY)
    assert ended.code == 0, ended.err
    assert "4 of 4 requests" in ended.out


def test_refused_requests_are_counted_by_code(server: Server) -> None:
    """A server that refuses everything: the code is told, and it is the user's to correct."""
    ended = bench(server.url, "--requests", "3", "--api-key", KEY, "--model", "another")
    assert ended.code == 2
    assert ended.err.splitlines()[-1].endswith("none of 3 requests: 404 model_not_found")


@pytest.mark.parametrize("key", [None, "wrong"])
def test_api_key(server: Server, key: str | None) -> None:
    """Without the right key nothing is measured."""
    ended = bench(server.url, **({} if key is None else {"API_KEY": key}))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"omega-server: {server.url} refuses the API key (401); set --api-key or API_KEY\n"


def test_nobody_there() -> None:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ended = bench(url)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"omega-server: {url} cannot be reached; check the address, and that the server runs\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "the following arguments are required: URL"),
        (("localhost:8000",), "is no address of a server"),
        (("ftp://localhost",), "is no address of a server"),
        (("http://localhost:99999",), "is no address of a server"),
        (("http://",), "is no address of a server"),
        (("http://localhost?x=1",), "is no address of a server"),
        (("http://localhost", "--requests", "0"), "must be a whole number from 1 to 10000"),
        (("http://localhost", "--concurrency", "many"), "must be a whole number from 1 to 10000"),
        (("http://localhost", "--rate", "nan"), "must be a number above 0"),
        (("http://localhost", "--size", "huge"), "--size: invalid choice: 'huge'"),
        (("http://localhost", "--json", "nowhere/figures.json"), "there is no such directory"),
        (("http://localhost", "--loud"), "unrecognized arguments: --loud"),
    ],
)
def test_bad_command_lines(arguments: tuple[str, ...], reason: str) -> None:
    """Each mistake is named in one line, and nothing is sent."""
    with pytest.raises(BenchError) as raised:
        command.bench(arguments)
    assert reason in str(raised.value)
    assert raised.value.code == 2
    assert "\n" not in str(raised.value)
