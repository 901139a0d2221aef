"""How soon /live answers while large pictures come in: 64 requests at once, each with a data: URI of 20 MB, by default.

    python tools/live_under_load.py http://127.0.0.1:8000 --requests 64 --megabytes 20 --kind uri

The key comes from API_KEY. Prints percentiles of /live's time, and how long the server's event loop was held up, by its
own metric; of the longest blocks of the last minute, that of the clock `cpu` is the server's own doing, whatever else the
machine does. The requests are refused (the pictures are no pictures), after everything was read and looked at.
"""

import argparse
import asyncio
import http.client
import multiprocessing
import os
import re
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from urllib.parse import urlsplit

import aiohttp

BLOCK = re.compile(r'^omega_event_loop_longest_block_seconds\{clock="(\w+)"\} (\S+)$', re.MULTILINE)
PAUSE = 0.01
"""Seconds between two questions to /live."""
_URI = b'{"type": "image_url", "image_url": {"url": "data:image/png;base64,%s"}}'
PARTS: dict[str, Callable[[int], bytes]] = {
    "uri": lambda size: _URI % (b"A" * size),
    "bare": lambda size: b'{"type": "image", "image": "%s"}' % (b"A" * size),
    "escaped": lambda size: _URI % (rb"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\/\/" * (size // 34)),
    "text": lambda size: b'{"type": "text", "text": "%s"}' % (b"hello " * (size // 6)),
}
"""A part of about so many bytes, by kind; `escaped` has the slashes as PHP writes them."""


def _ask_live(url: str, stop: Event, times: Connection) -> None:
    """Ask until told to stop, in a process of its own: the one that sends has no time to look at a clock."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    taken = []
    while not stop.is_set():
        began = time.monotonic()
        connection.request("GET", "/live")
        response = connection.getresponse()
        response.read()
        if response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"/live says {response.status}")
        taken.append(time.monotonic() - began)
        time.sleep(PAUSE)
    times.send(taken)


async def _send(session: aiohttp.ClientSession, body: bytes) -> int:
    async with session.post(
        "/v1/chat/completions", data=body, headers={"Content-Type": "application/json"}
    ) as response:
        await response.read()
        return response.status


async def _longest(session: aiohttp.ClientSession) -> list[tuple[str, str]]:
    async with session.get("/metrics") as response:
        return BLOCK.findall(await response.text())


async def run(url: str, requests: int, megabytes: int, kind: str) -> None:
    """Put the load on, and print what it did."""
    body = b'{"messages": [{"role": "user", "content": [%s]}]}' % PARTS[kind](megabytes * 1_000_000)
    key = os.environ.get("API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = aiohttp.ClientTimeout(total=900)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, headers=headers, timeout=timeout, connector=connector) as session:
        stop, (mine, others) = multiprocessing.Event(), multiprocessing.Pipe(duplex=False)
        asking = multiprocessing.Process(target=_ask_live, args=(url, stop, others), daemon=True)
        asking.start()
        began = time.monotonic()
        statuses = await asyncio.gather(*(_send(session, body) for _ in range(requests)))
        took = time.monotonic() - began
        stop.set()
        times = mine.recv()
        asking.join()
        longest = await _longest(session)
    load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
    print(
        f"{requests} requests of {megabytes} MB ({kind}) in {took:.1f} s, statuses {sorted(set(statuses))}, load {load}"
    )
    cuts = statistics.quantiles(times, n=100)
    print(
        f"/live, {len(times)} times: p50 {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms, most {max(times) * 1e3:.1f} ms"
    )
    for clock, seconds in longest:
        print(f"longest block of the event loop in the last minute, {clock}: {float(seconds) * 1e3:.1f} ms")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Measure /live while large pictures come in.")
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--kind", choices=PARTS, default="uri", help="how the pictures are written, or text instead")
    given = parser.parse_args()
    asyncio.run(run(given.url, given.requests, given.megabytes, given.kind))


if __name__ == "__main__":
    main()
