"""Outages, refusals and bad watches: whatever the API server does, in the end everything is as asked for."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable

from faults.fleet import Fleet
from faults.proxy import Faults, Proxy
from faults.replica import Replica
from faults.world import Broken, World, until

STALENESS = 75.0
"""Longest time for which news may be missed, in seconds."""

CONFLICTS, THROTTLED, ERRORS = 0.30, 0.50, 0.05
"""Shares of writes."""

Told = Callable[[str], None]


async def outages(world: World, proxy: Proxy, *, times: int, seconds: float, resources: int, told: Told = print) -> str:
    """Stop the API server again and again, for so many seconds, while users go on."""
    fleet = await begin(world, resources)
    worst, changes = 0.0, 0
    for number in range(times):
        await proxy.down()
        done = await fleet.disturb_for(seconds, pause=max(seconds / 20, 0.2))
        await proxy.up()
        took = await converges(fleet, STALENESS, f"outage {number + 1}")
        worst, changes = max(worst, took), changes + done
        told(f"outage {number + 1} of {seconds:.0f} s: {done} changes, all applied {took:.1f} s after its end")
    return f"{times} outages of {seconds:.0f} s, {changes} changes in them: 0 lost, worst {worst:.1f} s after the end"


async def refusals(
    world: World, proxy: Proxy, *, seconds: float, resources: int, patience: float = 600.0, told: Told = print
) -> str:
    """Refuse most writes while users change things, and go on refusing until all is applied."""
    fleet = await begin(world, resources)
    began = time.monotonic()
    proxy.faults = Faults(
        random.Random(1), conflicts=CONFLICTS, throttled=THROTTLED, errors=ERRORS, throttled_reads=THROTTLED / 2
    )
    changes = await fleet.disturb_for(seconds, pause=0.5)
    took = await converges(fleet, patience, "refusals")
    proxy.faults = Faults()
    writes = proxy.writes(began)
    answers = Counter(call.status for call in writes)
    told("answers to writes: " + ", ".join(f"{count} x {status}" for status, count in answers.most_common()))
    early = proxy.too_early()
    if early:
        raise Broken(f"{len(early)} calls came too early: {early[:5]}")
    throttled = sum(1 for call in proxy.calls if call.retry_after)
    return (
        f"{len(writes)} writes, {sum(count for status, count in answers.items() if status and status >= 400)} of them "
        f"refused; {changes} changes: 0 lost, converged {took:.1f} s after the last, under the same refusals; "
        f"{throttled} answers with Retry-After, 0 calls before its end"
    )


async def watches(world: World, proxy: Proxy, replica: Replica, *, resources: int, told: Told = print) -> str:
    """Bad watches of each sort, and how long a change goes unseen at most."""
    fleet, worst = await begin(world, resources), 0.0

    async def go_silent() -> None:
        proxy.silence()

    async def stay_silent() -> None:
        proxy.faults = Faults(silent=True)

    async def be_gone() -> None:
        proxy.faults = Faults(gone=True)
        await proxy.down()
        await proxy.up()

    async def disorder() -> None:
        proxy.faults = Faults(random.Random(2), doubled=0.3, swapped=0.3)
        await proxy.down()
        await proxy.up()

    for name, act in (
        ("silent, until they are opened anew", go_silent),
        ("silent for good, new ones too", stay_silent),
        ("410 Gone, each of them, again and again", be_gone),
        ("events doubled and reordered", disorder),
    ):
        await act()
        changes = await fleet.disturb_for(3, pause=0.1)
        took = await converges(fleet, STALENESS, f"watches that are {name}") + 3
        if took > STALENESS:
            raise Broken(f"watches that are {name}: {took:.1f} s")
        proxy.faults = Faults()
        await proxy.down()
        await proxy.up()
        await converges(fleet, STALENESS, "good watches again")
        worst = max(worst, took)
        told(f"{name}: {changes} changes, the last seen and applied {took:.1f} s after the first")
    return f"four sorts of bad watches: 0 lost changes, staleness at most {worst:.1f} s; {replica.starts} starts"


async def begin(world: World, resources: int) -> Fleet:
    """So many resources, settled."""
    fleet = Fleet(world)
    await fleet.begin(resources)

    async def all_settled() -> bool:
        return all([await world.is_settled(name) for name in fleet.sizes])

    await until(all_settled, 120, "the resources are settled")
    await asyncio.sleep(1)
    await fleet.learn()
    await converges(fleet, 30, "the beginning")
    return fleet


async def converges(fleet: Fleet, seconds: float, what: str) -> float:
    """Wait until all are as asked for; returns the seconds that it took.

    Raises:
        Broken: some are not after so many seconds; it says which.
    """
    try:
        return await until(fleet.is_converged, seconds, what, pause=0.5)
    except Broken as error:
        raise Broken(f"{error}: {(await fleet.wrong())[:5]}") from None
