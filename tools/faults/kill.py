"""SIGKILL at every API call of a reconcile: the same final state, nothing twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from faults.proxy import Call, Cut, Proxy
from faults.replica import Replica
from faults.world import Broken, World, difference, until
from omega_operator.kinds import RESOURCE, Manifest

FIRST: Manifest = {"service": {"annotations": {"a": "b"}}, "replicas": 0}
CHANGE: Manifest = {
    "service": None,
    "networkPolicy": {"enabled": False},
    "images": {"maxSize": 512},
    "model": {"name": "another"},
}
"""Takes fields and a child away, and changes both configurations."""

PATIENCE = 90.0


class Bomb:
    """Ends the operator at one of its calls for one resource."""

    def __init__(self, proxy: Proxy, replica: Replica) -> None:
        self._proxy, self._replica = proxy, replica

    def arm(self, resource: str, at: int, when: str) -> list[Call]:
        """Count the calls for a resource from now on, and kill at the one with a number, from 1; 0: at none.

        Args:
            resource: its name.
            at: the number.
            when: "before" the API server gets the call, or "after" it has answered, which nobody is told any more.
        """
        counted: list[Call] = []

        def count(call: Call) -> None:
            if _is_about(call, resource):
                counted.append(call)
                explode(call, "before")

        def explode(call: Call, now: str) -> None:
            if when == now and 0 < at <= len(counted) and counted[at - 1] is call:
                self._replica.kill()
                raise Cut

        self._proxy.faults.before = count
        self._proxy.faults.after = lambda call: explode(call, "after")
        return counted


def _is_about(call: Call, resource: str) -> bool:
    """Whether a call belongs to the reconcile of a resource: not to the watches, the audit or the election."""
    if call.is_lease or call.is_watch:
        return False
    parts = call.path.split("/")
    of_resource = any(part == resource or part.startswith(f"{resource}-") for part in parts)
    return of_resource or (call.method == "POST" and parts[-1] == "events")


async def kill_everywhere(
    world: World, proxy: Proxy, replica: Replica, *, step: int = 1, told: Callable[[str], None] = print
) -> str:
    """Create and change resources, and kill the operator at each call that this takes.

    Args:
        world: where.
        proxy: that the operator speaks through.
        replica: the operator, running.
        step: 1: every call; more: some calls.
        told: hears of the progress.

    Raises:
        Broken: a final state was another one, or something was there twice.
    """
    bomb, kills = Bomb(proxy, replica), 0
    first, second, calls = await _reference(world, bomb)
    told(f"calls of a reconcile: {calls[0]} to create, {calls[1]} to change")
    for stage, number in enumerate(calls):
        for when in ("before", "after"):
            for at in range(1 + (kills % step), number + 1, step):
                name = f"kill-{stage}-{when}-{at}"
                if stage == 1:
                    await _create(world, name)
                counted = bomb.arm(name, at, when)
                await (_create if stage == 0 else _change)(world, name, wait=False)
                await _end(world, replica, name, counted)
                bomb.arm(name, 0, when)
                if replica.ended:
                    kills += 1
                    await replica.start()
                what = f"killed {when} call {at}, {counted[min(at, len(counted)) - 1]}"
                await _expect(world, name, (first, second)[stage], what)
                told(f"stage {stage + 1}, {what}: the same state")
                await world.delete(RESOURCE, name)
    return f"killed {kills} times, before and after {sum(calls)} calls: same final state, 0 duplicates"


async def _reference(world: World, bomb: Bomb) -> tuple[Manifest, Manifest, tuple[int, int]]:
    states, calls = [], []
    for act in (_create, _change):
        counted = bomb.arm("undisturbed", 0, "before")
        await act(world, "undisturbed")
        await asyncio.sleep(2)
        states.append(await _state(world, "undisturbed"))
        calls.append(len(counted))
    return states[0], states[1], (calls[0], calls[1])


async def _create(world: World, name: str, *, wait: bool = True) -> None:
    await world.create(name, **FIRST)
    if wait:
        await until(lambda: world.is_settled(name), PATIENCE, f"{name} is settled")


async def _change(world: World, name: str, *, wait: bool = True) -> None:
    await world.patch(RESOURCE, name, {"spec": CHANGE})
    if wait:
        await until(lambda: world.is_settled(name), PATIENCE, f"{name} is settled")


async def _state(world: World, name: str) -> Manifest:
    return await world.state(name) | {"events": sorted(map(list, await world.events(name)))}


async def _expect(world: World, name: str, wanted: Manifest, what: str) -> None:
    found: list[Any] = []

    async def is_same() -> bool:
        found[:] = [await _state(world, name) if await world.is_settled(name) else {}]
        return bool(found[0] == wanted)

    try:
        await until(is_same, PATIENCE, what)
        await asyncio.sleep(0.5)  # what comes after that must change nothing
        if not await is_same():
            raise Broken(f"{what}: changed again")
    except Broken as error:
        raise Broken(f"{error}: {difference(found[0], wanted)}") from None


async def _end(world: World, replica: Replica, name: str, counted: list[Call]) -> None:
    """Wait until the operator is killed, or is done with fewer calls than the first time."""

    async def is_over() -> bool:
        is_quiet = bool(counted) and time.monotonic() - counted[-1].began > 3
        return replica.ended or (is_quiet and await world.is_settled(name))

    await until(is_over, PATIENCE, f"{name} ends the operator")
