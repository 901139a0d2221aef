"""Whether the event loop turns: each client, each probe and each engine waits for whatever holds it up."""

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

TICK_SECONDS = 0.005
"""How often the loop is asked. A block is seen as up to so much shorter than it was."""


async def watch(late: Callable[[float, float], None]) -> NoReturn:
    """Ask the loop that this runs in to wake us up again and again, until cancelled.

    Args:
        late: told each time by how many seconds it was late, and for how many of these its own thread was computing. The
            rest is the machine's, which gave the processor to others, or another thread's of this process.
    """
    while True:
        due, computed = time.monotonic() + TICK_SECONDS, time.thread_time()
        await asyncio.sleep(TICK_SECONDS)
        seconds = max(time.monotonic() - due, 0.0)
        late(seconds, min(seconds, time.thread_time() - computed))
