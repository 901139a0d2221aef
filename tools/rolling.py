"""Whether a rolling update cuts streams: servers take turns under load, and each is told to stop while it answers.

    rolling.py [--rounds 50] [--clients 8] [--model demo/model]

Three servers stand behind a small balancer that reads /ready, as a Service does. In each round the oldest gets SIGTERM
and a new one joins. Clients stream answers all the time, one of four of them slowly, and keep their
connections. A stream is cut when it has begun with 200 and does not end with [DONE]. What never began is asked again, as
any client does after a 503 or a lost connection. Exit code 1 if a stream was cut or a server did not end with 0.
"""

import argparse
import asyncio
import os
import random
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx

ROOT = Path(__file__).resolve().parent.parent
LOOK_SECONDS = 0.05  # between two looks at /ready
PATIENCE = 300.0  # for a server to load its model, or to end


@dataclass(eq=False)
class Server:
    """One `omega-server`, and what the balancer knows of it."""

    process: asyncio.subprocess.Process
    url: str
    ready: bool = False


@dataclass
class Tally:
    """What happened.

    Attributes:
        whole: streams that ended with [DONE].
        cut: why others did not, though they had begun.
        refused: requests that got a 503 and were sent again.
        lost: requests whose connection ended before a status came, and that were sent again.
        codes: exit codes of the servers that were told to stop.
        slowest: seconds that a server took at most to end.
        spanned: streams that were running when their server was told to stop, and ended well.
    """

    whole: int = 0
    cut: list[str] = field(default_factory=list)
    refused: int = 0
    lost: int = 0
    codes: list[int] = field(default_factory=list)
    slowest: float = 0.0
    spanned: int = 0


class Fleet:
    """The servers."""

    def __init__(self, model: Path, log: IO[bytes]) -> None:
        self._model = model
        self._log = log
        self.servers: list[Server] = []
        self.stopping: set[Server] = set()

    async def add(self) -> Server:
        """Start one more, and wait until it is ready."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = ["-m", "omega_server", "--model-path", str(self._model), "--device", "cpu", "--dtype", "float32"]
        path = os.pathsep.join(str(ROOT / project) for project in ("server", "crds"))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            *("--host", "127.0.0.1", "--port", str(port), "--drain-seconds", "240"),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=self._log,
            stderr=self._log,
        )
        server = Server(process, f"http://127.0.0.1:{port}")
        self.servers.append(server)
        async with asyncio.timeout(PATIENCE):
            while not server.ready:
                if process.returncode is not None:
                    raise RuntimeError(f"a server ended with {process.returncode} while it loaded")
                await asyncio.sleep(LOOK_SECONDS)
        return server

    async def look(self, client: httpx.AsyncClient) -> None:
        """Keep reading /ready of all."""
        while True:
            for server in list(self.servers):
                try:
                    server.ready = (await client.get(f"{server.url}/ready")).status_code == 200
                except httpx.HTTPError:
                    server.ready = False
            await asyncio.sleep(LOOK_SECONDS)

    async def retire(self, server: Server, tally: Tally) -> int:
        """Tell one to stop, and wait for its end; its exit code."""
        self.stopping.add(server)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            code = await server.process.wait()
        tally.slowest = max(tally.slowest, time.monotonic() - began)
        self.servers.remove(server)
        return code

    async def end(self) -> None:
        """End all that are left."""
        for server in self.servers:
            if server.process.returncode is None:
                server.process.kill()
            await server.process.wait()


async def ask(client: httpx.AsyncClient, fleet: Fleet, dice: random.Random, tally: Tally, *, slow: bool) -> None:
    """One streamed answer from a server that is ready."""
    ready = [server for server in fleet.servers if server.ready]
    if not ready:
        await asyncio.sleep(LOOK_SECONDS)
        return
    server = dice.choice(ready)
    tokens = dice.randint(30, 300)
    body = {
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "min_tokens": tokens,
        "max_tokens": tokens,
    }
    begun, ended = False, False
    try:
        async with client.stream("POST", f"{server.url}/v1/chat/completions", json=body) as response:
            if response.status_code == 503:
                tally.refused += 1
                return
            begun = True
            early = server not in fleet.stopping
            async for line in response.aiter_lines():
                ended = line == "data: [DONE]"
                if slow and line:
                    await asyncio.sleep(0.005)
                if ended:
                    break
        tally.whole += ended
        tally.spanned += ended and early and server in fleet.stopping
        if not ended:
            tally.cut.append(f"status {response.status_code}, no [DONE]")
    except httpx.HTTPError as error:
        if begun:
            tally.cut.append(f"{type(error).__name__}: {error}")
        else:
            tally.lost += 1
            await asyncio.sleep(LOOK_SECONDS)


async def roll(
    *, model: Path, rounds: int, clients: int, log: IO[bytes], servers: int = 3, show: bool = False
) -> Tally:
    """Roll so many times; what happened."""
    tally, fleet, done = Tally(), Fleet(model, log), asyncio.Event()

    async def keep_asking(number: int) -> None:
        dice = random.Random(number)
        async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
            while not done.is_set():
                await ask(client, fleet, dice, tally, slow=number % 4 == 3)

    async with httpx.AsyncClient(timeout=10, trust_env=False) as probe:
        looking = asyncio.ensure_future(fleet.look(probe))
        try:
            await asyncio.gather(*(fleet.add() for _ in range(servers)))
            load = [asyncio.ensure_future(keep_asking(number)) for number in range(clients)]
            for number in range(rounds):
                code, _ = await asyncio.gather(fleet.retire(fleet.servers[0], tally), fleet.add())
                tally.codes.append(code)
                if show:
                    print(
                        f"{number + 1:3} {tally.whole:6} whole, {tally.spanned} spanned, {tally.refused} refused, "
                        f"{tally.lost} lost, {len(tally.cut)} cut",
                        flush=True,
                    )
            done.set()
            await asyncio.gather(*load)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await fleet.end()
    return tally


def main() -> int:
    """Do what the arguments say; the result is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50, help="servers that are told to stop")
    parser.add_argument("--clients", type=int, default=8, help="streams at the same time")
    parser.add_argument("--model", type=Path, default=ROOT / "demo" / "model", help="a checkpoint")
    arguments = parser.parse_args()
    with tempfile.TemporaryFile() as log:
        tally = asyncio.run(
            roll(model=arguments.model, rounds=arguments.rounds, clients=arguments.clients, log=log, show=True)
        )
    print(
        f"{len(tally.codes)} servers stopped, {tally.whole} streams whole, {len(tally.cut)} cut; {tally.spanned} ran "
        f"when their server was told to stop; {tally.refused} refused, {tally.lost} lost before a status, both asked "
        f"again; slowest end {tally.slowest:.1f} s"
    )
    for reason in tally.cut[:20]:
        print(f"cut: {reason}")
    return 1 if tally.cut or any(tally.codes) else 0


if __name__ == "__main__":
    sys.exit(main())
