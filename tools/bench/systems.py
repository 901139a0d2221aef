"""What is compared: how each system is started, and how it is asked. All of them get the same requests and weights."""

import asyncio
import io
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import environments
from bench.processes import Group, Usage, free_port, wait_until_ready
from omega_server import forks
from omega_server.bench.client import Client, body
from omega_server.bench.figures import Record
from omega_server.bench.load import Shot, send
from omega_server.bench.progress import Progress
from omega_server.bench.workload import Request

ROOT = Path(__file__).parents[2]
MODEL_ID = "bench"
MAX_LENGTH = 8192
START_SECONDS = 600.0
TIMEOUT_SECONDS = 1200.0


@dataclass(frozen=True)
class Measured:
    """One load on one system.

    Attributes:
        records: of each request.
        usage: CPU time of the load alone, and the largest resident memory during it.
    """

    records: list[Record]
    usage: Usage


class System(ABC):
    """A server or an engine that is running."""

    def __init__(self, group: Group) -> None:
        self.group = group

    def measure(self, requests: Sequence[Request], rate: float | None = None) -> Measured:
        """Send requests, at a rate or all at once, and wait for the answers.

        Raises:
            RuntimeError: a request failed, or its answer has another length: figures would mean nothing.
        """
        self.group.reset_peak()
        before = self.group.usage()
        records = self.send(requests, rate)
        after = self.group.usage()
        for request, record in zip(requests, records, strict=True):
            if record.error or record.tokens != request.tokens:
                what = record.error or f"{record.tokens} tokens instead of {request.tokens}"
                raise RuntimeError(f"{self.group.log.stem}: a request failed: {what}\n{self.group.last_words()}")
        return Measured(records, Usage(after.cpu_s - before.cpu_s, after.peak_rss_bytes))

    @abstractmethod
    def send(self, requests: Sequence[Request], rate: float | None) -> list[Record]:
        """A record of each request."""

    def end(self) -> None:
        """End its processes."""
        self.group.end()


class Server(System):
    """A system with the OpenAI API over HTTP.

    Attributes:
        url: its address.
        startup_s: from its process's start until it was ready, in seconds.
    """

    def __init__(self, group: Group, url: str, startup_s: float, *, model_id: str) -> None:
        super().__init__(group)
        self.url = url
        self.startup_s = startup_s
        self._model_id = model_id

    def send(self, requests: Sequence[Request], rate: float | None) -> list[Record]:
        """Over HTTP, from this process."""
        shots = [
            Shot(None if rate is None else request.at / rate, self.body(request.messages(), request.tokens))
            for request in requests
        ]
        return asyncio.run(self._send(shots))

    def body(self, messages: Sequence[Mapping[str, object]], tokens: int) -> bytes:
        """The body of a request for so many tokens."""
        return body(self._model_id, messages, tokens)

    async def _send(self, shots: Sequence[Shot]) -> list[Record]:
        async with Client(self.url, api_key=None, timeout=TIMEOUT_SECONDS) as client:
            progress = Progress(len(shots), io.StringIO())
            return await send(client.ask, shots, concurrency=len(shots), progress=progress)


class Child(System):
    """A system without HTTP: a child process that takes lines of JSON and answers with lines of JSON."""

    def __init__(self, group: Group) -> None:
        """Wait until it has loaded its model.

        Raises:
            RuntimeError: it ended before that.
        """
        super().__init__(group)
        self._read()

    def send(self, requests: Sequence[Request], rate: float | None) -> list[Record]:
        """Through its pipe; the clock starts when the child has all of them."""
        lines = [
            {"after": request.at / rate if rate else 0.0, "messages": request.messages(), "tokens": request.tokens}
            for request in requests
        ]
        answer = self.call({"load": lines})
        return [Record(sent, tuple(pieces), ended, tokens) for sent, pieces, ended, tokens in answer]

    def call(self, line: Mapping[str, object]) -> list[list]:
        """Send a line and wait for the line that answers it.

        Raises:
            RuntimeError: the child ended.
        """
        pipe = self.group.process.stdin
        assert pipe is not None
        pipe.write(json.dumps(line) + "\n")
        pipe.flush()
        return self._read()

    def _read(self) -> list[list]:
        pipe = self.group.process.stdout
        assert pipe is not None
        line = pipe.readline()
        if not line:
            raise RuntimeError(f"{self.group.log.stem} ended:\n{self.group.last_words()}")
        answer: list[list] = json.loads(line)
        return answer


@dataclass(frozen=True)
class Setup:
    """What systems are started with.

    Attributes:
        model: directory of the checkpoint.
        threads: of torch, or whatever a system computes with.
        logs: directory for what they write.
    """

    model: Path
    threads: int
    logs: Path

    def environ(self, **more: str) -> dict[str, str]:
        """The environment of all systems, with as many threads as asked for and nothing from any network."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR") if name in os.environ}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self.threads))
        offline = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}
        return kept | threads | offline | more

    def ours(self) -> dict[str, str]:
        """The environment of what runs from this checkout, with the pages that the server gives its engines."""
        path = os.pathsep.join(str(ROOT / part) for part in ("server", "crds", "tools"))
        return self.environ(PYTHONPATH=path, GLIBC_TUNABLES=forks.TUNABLES)


def omega_http(setup: Setup) -> Server:
    """This server."""
    port = free_port()
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "omega_server",
        "serve",
        "--model-path",
        setup.model,
        "--model-name",
        MODEL_ID,
    ]
    command += ["--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--max-model-length", str(MAX_LENGTH), "--max-image-size", "1920"]
    return _server(command, setup.ours(), setup.logs / "omega-http.log", port, ready="/ready")


def omega_in_process(setup: Setup) -> Child:
    """This engine without HTTP, in one process."""
    return _child("bench.in_process", setup, setup.logs / "omega-in-process.log")


def micro_batching(setup: Setup) -> Child:
    """Static batches of two, as the original system made them."""
    return _child("bench.micro_batches", setup, setup.logs / "micro-batching-2.log")


def transformers_serve(setup: Setup) -> Server:
    """`transformers serve`, of the version that this server is built on, from our own environment."""
    port = free_port()
    command: list[str | Path] = [Path(sys.executable).parent / "transformers", "serve", setup.model, "--device", "cpu"]
    command += ["--dtype", "float32", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    log = setup.logs / "transformers-serve.log"
    return _server(command, setup.environ(), log, port, ready="/health", model_id=str(setup.model))


def vllm_cpu(setup: Setup) -> Server:
    """The CPU build of vLLM, compiled, in its own environment.

    Raises:
        NoEnvironment: it cannot be had on this machine.
    """
    path = environments.make("vllm")
    port = free_port()
    # Its command `vllm` looks for a package of that name, and ends: on the CPU it has another.
    command: list[str | Path] = [path / "bin" / "python", "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", setup.model, "--served-model-name", MODEL_ID, "--dtype", "float32"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(MAX_LENGTH), "--max-num-seqs", "64"]
    environ = setup.environ(
        VLLM_CPU_KVCACHE_SPACE="2",  # GiB; by default it takes most of the machine
        VLLM_CPU_OMP_THREADS_BIND="nobind",  # as for everybody else: other work on the machine may be where it is
        # What it compiled for one thread is not what it would compile for two.
        VLLM_CACHE_ROOT=str(environments.cache() / "vllm" / f"threads-{setup.threads}"),
        VLLM_NO_USAGE_STATS="1",
    )
    return _server(command, environ, setup.logs / "vllm-cpu.log", port, ready="/health")


SYSTEMS: dict[str, Callable[[Setup], System]] = {
    "omega-http": omega_http,
    "omega-in-process": omega_in_process,
    "vllm-cpu": vllm_cpu,
    "transformers-serve": transformers_serve,
    "micro-batching-2": micro_batching,
}
"""All systems by name; the functions start them and wait until they are ready."""


def _server(
    command: Sequence[str | Path],
    environ: Mapping[str, str],
    log: Path,
    port: int,
    *,
    ready: str,
    model_id: str = MODEL_ID,
) -> Server:
    begin = time.monotonic()
    group = Group(command, environ, log)
    url = f"http://127.0.0.1:{port}"
    try:
        end = wait_until_ready(group, url + ready, START_SECONDS)
    except BaseException:
        group.end()
        raise
    return Server(group, url, end - begin, model_id=model_id)


def _child(module: str, setup: Setup, log: Path) -> Child:
    command: list[str | Path] = [sys.executable, "-m", module, setup.model, str(setup.threads)]
    group = Group(command, setup.ours(), log, pipes=True)
    try:
        return Child(group)
    except BaseException:
        group.end()
        raise
