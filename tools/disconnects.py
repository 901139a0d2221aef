"""How soon a server is free again after its clients hung up.

    disconnects.py [--disconnects 1000] [--model demo/model]

Starts a server and asks it eight things at a time: short and long texts, one and several pictures that nobody has seen before,
as a stream and whole. At a random moment all eight hang up. Then it is asked for its state until no slot and no block
is taken. Each line tells the time until then: its median, 99th percentile and worst. Beside it stands what is left of the
worst without the time for which one of the server's two main threads could have run but had no core (Linux tells that in
schedstat; of the two the one that waited longer): that much is surely the machine's, the rest may be ours. Exit code 1 if that is above 200 ms.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from bench.processes import Group, free_port, wait_until_ready
from omega_server.bench.workload import WORDS, Picture

ROOT = Path(__file__).resolve().parent.parent
AT_ONCE = 8
LONGEST = 1.5  # seconds from a request to its end
QUIET = 0.3  # seconds without a slot or a block, after which none comes late
MOST = 0.2


class Clients:
    """Endless requests that hang up."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._dice = random.Random(seed)
        self._pictures = 0

    def body(self) -> bytes:
        """A request of any kind."""
        words = self._dice.choice((10, 100, 1000))
        content: list[dict[str, Any]] = [
            {"type": "text", "text": " ".join(self._dice.choice(WORDS) for _ in range(words))}
        ]
        for _ in range(self._dice.choice((0, 0, 1, 4))):
            self._pictures += 1
            uri = Picture(self._pictures, *self._dice.choice(((160, 120), (640, 480)))).uri()
            content.append({"type": "image_url", "image_url": {"url": uri}})
        wanted = {
            "messages": [{"role": "user", "content": content}],
            "max_tokens": 500,
            "ignore_eos": True,
            "stream": self._dice.random() < 0.7,
        }
        return json.dumps(wanted).encode()

    async def hang_up(self, body: bytes, seconds: float) -> None:
        """Ask, and hang up so many seconds later, whatever has come."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: us\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await reader.read(1 << 16):
                    pass
                await asyncio.sleep(seconds)  # the answer was complete: hang up with the others
        writer.transport.abort()

    async def disconnect(self) -> None:
        """So many at once."""
        seconds = self._dice.random() * LONGEST
        await asyncio.gather(*(self.hang_up(self.body(), seconds) for _ in range(AT_ONCE)))


class Health:
    """The state of the engine, asked for on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.pid = 0

    async def engine(self) -> dict[str, Any]:
        """What the server says of it."""
        self._writer.write(b"GET /health HTTP/1.1\r\nhost: us\r\n\r\n")
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].split()[0])
        engine: dict[str, Any] = json.loads(await self._reader.readexactly(length))["engines"][0]
        return engine

    async def watch(self, clients: Coroutine[Any, Any, None]) -> int:
        """Requests that the engine had when these clients were gone."""
        task = asyncio.ensure_future(clients)
        requests = 0
        while not task.done():
            engine = await self.engine()
            self.pid = engine["pid"]
            requests = engine["running"] + engine["waiting"]
            await asyncio.wait([task], timeout=0.02)
        await task
        return requests

    async def free(self, server: int) -> tuple[float, float]:
        """Seconds from now until nothing was taken any more, and those of them without waiting for a core."""
        begun = last = time.monotonic()
        before = waited = _waited(server, self.pid)
        while time.monotonic() < last + QUIET:
            engine = await self.engine()
            if any(engine[name] for name in ("running", "waiting", "kv_blocks_used")):
                last, waited = time.monotonic(), _waited(server, self.pid)
                if last > begun + 60:
                    raise RuntimeError(f"never free: {engine}")
            await asyncio.sleep(0.004)
        lost = max(now - then for now, then in zip(waited, before, strict=True))
        return last - begun, max(0.0, last - begun - lost)


def _waited(*processes: int) -> list[float]:
    """Seconds for which each one's main thread was ready to run and had no core, since it began."""
    return [int(Path(f"/proc/{p}/task/{p}/schedstat").read_text().split()[1]) / 1e9 for p in processes]


async def measure(port: int, server: int, count: int) -> bool:
    """Whether the server was always free in time."""
    clients = Clients(port, seed=1)
    health = Health(*await asyncio.open_connection("127.0.0.1", port))
    seconds: list[float] = []
    ours: list[float] = []
    taken: list[int] = []
    print(
        "disconnects   in the engine   median ms   p99 ms   worst ms   worst without waiting for a core, ms", flush=True
    )
    for done in range(AT_ONCE, count + 1, AT_ONCE):
        taken.append(await health.watch(clients.disconnect()))
        total, without_waiting = await health.free(server)
        seconds.append(total)
        ours.append(without_waiting)
        if done % (25 * AT_ONCE) == 0 or done + AT_ONCE > count:
            p99 = sorted(seconds)[int(len(seconds) * 0.99)]
            figures = (statistics.median(seconds), p99, max(seconds), max(ours))
            print(
                f"{done:11}   {sum(taken):13}   {figures[0] * 1e3:9.0f}   {p99 * 1e3:6.0f}   {figures[2] * 1e3:8.0f}   {figures[3] * 1e3:8.0f}",
                flush=True,
            )
    return max(ours) <= MOST


def main() -> int:
    """Do what the arguments say; the result is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disconnects", type=int, default=1000, help="how many")
    parser.add_argument("--model", type=Path, default=ROOT / "demo" / "model", help="a checkpoint")
    arguments = parser.parse_args()
    port = free_port()
    command = [sys.executable, "-m", "omega_server", "--model-path", arguments.model, "--device", "cpu"]
    command += ["--dtype", "float32", "--host", "127.0.0.1", "--port", str(port), "--max-model-length", "4096"]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("server", "crds"))}
    with tempfile.TemporaryDirectory() as folder:
        group = Group(command, environ, Path(folder) / "server.log")
        try:
            wait_until_ready(group, f"http://127.0.0.1:{port}/ready", 600)
            return 0 if asyncio.run(measure(port, group.process.pid, arguments.disconnects)) else 1
        finally:
            group.end()


if __name__ == "__main__":
    sys.exit(main())
