"""Somebody who holds up the event loop is seen."""

import asyncio
import time

from omega_server import loop_watch


async def watched(seconds: float, hold: object) -> tuple[float, float]:
    """The longest block by the clock and by the loop's own computing, while `hold` runs once."""
    found = [(0.0, 0.0)]
    task = asyncio.ensure_future(loop_watch.watch(lambda wall, cpu: found.append((wall, cpu))))
    await asyncio.sleep(0.02)
    hold(seconds)  # type: ignore[operator]
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return max(wall for wall, _ in found), max(cpu for _, cpu in found)


def compute(seconds: float) -> None:
    """Use the processor for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_computing() -> None:
    """What the loop's own thread computes counts by both clocks."""
    wall, cpu = await watched(0.2, compute)
    assert wall >= cpu >= 0.2 - loop_watch.TICK_SECONDS


async def test_waiting() -> None:
    """What only waits, or is kept waiting, counts by the wall's clock alone."""
    wall, cpu = await watched(0.2, time.sleep)
    assert wall >= 0.2 - loop_watch.TICK_SECONDS
    assert cpu < 0.1
