"""Sends requests at their times, and gathers what came of each."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from omega_server.bench.figures import Record
from omega_server.bench.progress import Progress

Ask = Callable[[bytes, float, Callable[[], None]], Awaitable[Record]]
"""Client.ask."""


@dataclass(frozen=True)
class Shot:
    """A request that is ready to be sent.

    Attributes:
        after: seconds after the first one; None for as soon as it is its turn.
        body: its bytes.
    """

    after: float | None
    body: bytes


async def send(ask: Ask, shots: Sequence[Shot], *, concurrency: int, progress: Progress) -> list[Record]:
    """Send them and wait for all answers.

    Args:
        ask: sends one.
        shots: in the order of their times.
        concurrency: most requests at once. A request that has to wait for its turn longer than to its time counts from
            its time, so that a slow server cannot make its own load lighter.
        progress: told of pieces and ends.

    Returns:
        a record of each, in the same order.
    """
    turns = asyncio.Semaphore(concurrency)
    begin = time.monotonic()

    async def one(shot: Shot) -> Record:
        async with turns:
            due = time.monotonic() if shot.after is None else begin + shot.after
            record = await ask(shot.body, due, progress.piece)
        progress.done(record)
        return record

    tasks = []
    for shot in shots:
        if shot.after is not None:
            await asyncio.sleep(max(0.0, begin + shot.after - time.monotonic()))
        tasks.append(asyncio.create_task(one(shot)))
    return await asyncio.gather(*tasks)
