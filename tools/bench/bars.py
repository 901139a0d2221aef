"""What else is promised of this server, each measured against itself on the same machine."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench import systems
from bench.systems import ROOT, Server, Setup
from omega_server.bench.client import Client
from omega_server.bench.figures import Record, percentile
from omega_server.bench.workload import Picture, Request

STREAMS = 4
STREAM_TOKENS = 160
PICTURES = 10
SIDES = (640, 480)
FULL_HD = (1920, 1080)


def pictures_beside_answers(server: Server, rounds: int) -> dict[str, Any]:
    """Time between tokens of running streams, without anything else and while a request with ten pictures arrives.

    Raises:
        RuntimeError: a request failed, or the streams were over too soon.
    """
    idle: list[float] = []
    busy: list[float] = []
    for number in range(rounds):
        idle += asyncio.run(_gaps(server, 2 * number, with_pictures=False))
        busy += asyncio.run(_gaps(server, 2 * number + 1, with_pictures=True))
    p99_idle, p99_busy = percentile(idle, 99), percentile(busy, 99)
    if p99_idle is None or p99_busy is None:
        raise RuntimeError("the streams had ended before the pictures were there")
    return {
        "idle_itl_p99_s": p99_idle,
        "busy_itl_p99_s": p99_busy,
        "idle_itl_p50_s": percentile(idle, 50),
        "busy_itl_p50_s": percentile(busy, 50),
        "gaps": {"idle": len(idle), "busy": len(busy)},
        "ratio": p99_busy / p99_idle,
    }


def second_turn(server: Server, rounds: int) -> dict[str, Any]:
    """Time to the first token of a question about a new Full HD picture, and of a second question about it."""
    first: list[float] = []
    second: list[float] = []
    for number in range(rounds):
        turn = Request(0.0, "What is in the picture?", (Picture(7_000_000 + number, *FULL_HD),), 16).messages()
        more = [*turn, {"role": "assistant", "content": "A street."}, {"role": "user", "content": "And what else?"}]
        first.append(_first_token(server, turn))
        second.append(_first_token(server, more))
    return {
        "first_ttft_s": statistics.median(first),
        "second_ttft_s": statistics.median(second),
        "ratio": statistics.median(b / a for a, b in zip(first, second, strict=True)),
    }


def startup(setup: Setup, rounds: int) -> dict[str, Any]:
    """Seconds from the start of the process until it is ready, with the demo model."""
    demo = Setup(ROOT / "demo" / "model", setup.threads, setup.logs)
    seconds = []
    for _ in range(rounds):
        server = systems.omega_http(demo)
        server.end()
        seconds.append(server.startup_s)
    return {"startup_s": statistics.median(seconds), "each_s": seconds}


def step_overhead(setup: Setup, *, sequences: int = 64, steps: int = 60) -> dict[str, Any]:
    """Which share of a step of so many answering sequences is outside the model's forward."""
    child = systems.omega_in_process(setup)
    try:
        return dict(child.call({"overhead": {"sequences": sequences, "steps": steps}})[0])
    finally:
        child.end()


def _first_token(server: Server, messages: Sequence[dict[str, Any]]) -> float:
    record = asyncio.run(_ask_all(server, [server.body(messages, 16)]))[0]
    return record.pieces[0] - record.sent


async def _ask_all(server: Server, bodies: Sequence[bytes]) -> list[Record]:
    async with Client(server.url, api_key=None, timeout=systems.TIMEOUT_SECONDS) as client:
        return await asyncio.gather(*(_ask(client, body) for body in bodies))


async def _ask(client: Client, body: bytes) -> Record:
    record = await client.ask(body, time.monotonic(), lambda: None)
    if record.error:
        raise RuntimeError(f"a request failed: {record.error}")
    return record


async def _gaps(server: Server, seed: int, *, with_pictures: bool) -> list[float]:
    """Times between tokens of some streams; with pictures, only those that end after the pictures were sent and begin
    before their answer did.
    """
    streams = [
        server.body(Request(0.0, f"Count to {1000 * seed + index}.", (), STREAM_TOKENS).messages(), STREAM_TOKENS)
        for index in range(STREAMS)
    ]
    shown = tuple(Picture(8_000_000 + PICTURES * seed + index, *SIDES) for index in range(PICTURES))
    pictures = server.body(Request(0.0, "Which of them is the odd one?", shown, 4).messages(), 4)
    async with Client(server.url, api_key=None, timeout=systems.TIMEOUT_SECONDS) as client:
        begun = asyncio.Event()
        running = [
            asyncio.create_task(client.ask(stream, time.monotonic(), begun.set if index == 0 else lambda: None))
            for index, stream in enumerate(streams)
        ]
        await begun.wait()
        if with_pictures:
            await asyncio.sleep(0.2)  # all of them are answering by then
            other = await _ask(client, pictures)
        records = await asyncio.gather(*running)
    for record in records:
        if record.error:
            raise RuntimeError(f"a request failed: {record.error}")
    window = (other.sent, other.pieces[0]) if with_pictures else (0.0, float("inf"))
    return [
        later - earlier
        for record in records
        for earlier, later in pairwise(record.pieces)
        if later > window[0] and earlier < window[1]
    ]


def logs_of(folder: Path) -> Path:
    """A directory for what systems write, in which earlier runs leave nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.log"):
        old.unlink()
    return folder
