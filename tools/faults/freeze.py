"""Two replicas, of which the leader freezes: the other takes over, and the two never write at the same time."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

from faults.proxy import Proxy
from faults.replica import Replica
from faults.storms import begin, converges
from faults.world import Broken, World, until
from omega_operator.api import ApiError
from operator_process import leads

TAKEOVER = 15.0
"""Longest time until another replica writes, in seconds."""


async def freeze(
    world: World,
    replicas: dict[Replica, Proxy],
    *,
    times: int,
    seconds: float,
    resources: int,
    told: Callable[[str], None] = print,
) -> str:
    """Freeze whoever leads, again and again, while everything changes all the time.

    Args:
        world: where.
        replicas: two, running, each with a proxy of its own.
        times: how often.
        seconds: for how long.
        resources: how many are changed.
        told: hears of the progress.

    Raises:
        Broken: nobody took over in time, or both wrote.
    """
    fleet = await begin(world, resources)
    over = asyncio.Event()
    changing = asyncio.ensure_future(_change(fleet.disturb, over))
    worst = 0.0
    try:
        for number in range(times):
            leader = await _leader(replicas)
            other = next(proxy for one, proxy in replicas.items() if one is not leader)
            took = await _freeze(leader, replicas[leader], other, seconds)
            worst = max(worst, took)
            told(f"freeze {number + 1} of {seconds:.0f} s: takeover after {took:.1f} s, 0 overlapping writes")
    finally:
        over.set()  # cancelled, it could have changed something and not written it down
        await changing
    await converges(fleet, 60, "after the last takeover")
    writes = sum(len(proxy.writes()) for proxy in replicas.values())
    return f"{times} freezes of {seconds:.0f} s: 0 overlapping of {writes} writes, takeover at most {worst:.1f} s"


async def _freeze(leader: Replica, its_proxy: Proxy, others_proxy: Proxy, seconds: float) -> float:
    """Freeze for so many seconds; returns after how many the other one wrote."""
    frozen = time.monotonic()
    leader.send(signal.SIGSTOP)
    try:
        await until(lambda: _wrote(others_proxy, frozen), seconds, "another replica writes")
        took = others_proxy.writes(frozen)[0].began - frozen
        await asyncio.sleep(max(seconds - (time.monotonic() - frozen), 0.0))
    finally:
        leader.send(signal.SIGCONT)
    await asyncio.sleep(3)
    if late := its_proxy.writes(frozen + took):
        raise Broken(f"writes of the old leader after the takeover: {[*map(str, late)]}")
    if took > TAKEOVER:
        raise Broken(f"takeover after {took:.1f} s")
    return took


async def _change(disturb: Callable[[], Awaitable[object]], over: asyncio.Event) -> None:
    while not over.is_set():
        try:
            await disturb()
        except ApiError as error:
            if error.status != 404:
                raise
        await asyncio.sleep(0.05)


async def _leader(replicas: dict[Replica, Proxy]) -> Replica:
    found: list[Replica] = []

    async def is_found() -> bool:
        found[:] = [one for one in replicas if leads(await one.asked("/metrics") or "")]
        return bool(found)

    await until(is_found, 60, "a replica leads")
    return found[0]


async def _wrote(proxy: Proxy, since: float) -> bool:
    return bool(proxy.writes(since))
