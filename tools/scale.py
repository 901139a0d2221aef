"""How the operator does with many resources, against its bars.

    PYTHONPATH=crds:operator .venv/bin/python tools/scale.py [--resources 1000] [--idle 600]

The operator runs as a process of this machine against a real cluster (KUBECONFIG, else the local one), through a proxy that
counts its calls. The resources want no pods, so nothing but the operator and the control plane is at work. All of it is in a
namespace of its own, which is deleted at the end. Exit code 1 if a bar is missed.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.cli import kubeconfig
from faults.drift import vandalise
from faults.proxy import Proxy
from faults.replica import Replica
from faults.stage import operated
from faults.world import Broken, World, is_settled, until
from omega_operator.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    NETWORK_POLICY,
    RESOURCE,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
    Manifest,
)
from operator_process import metric

CHILDREN = (SERVICE_ACCOUNT, CONFIG_MAP, NETWORK_POLICY, DEPLOYMENT, SERVICE)
"""Kinds of which each resource here has one."""

PATIENCE = 900.0
AT_ONCE = 32
"""Requests that the user sends at the same time."""

FOREIGN = {"labels": {"theirs": "1"}, "annotations": {"theirs": "1"}}


@dataclass(frozen=True)
class Row:
    """One bar and what was measured."""

    what: str
    value: float
    most: float
    unit: str

    @property
    def is_kept(self) -> bool:
        """Whether it is."""
        return self.value <= self.most

    def __str__(self) -> str:
        verdict = "ok" if self.is_kept else "MISSED"
        return f"| {self.what} | {self.value:.4g} {self.unit} | <= {self.most:g} {self.unit} | {verdict} |"


@dataclass(frozen=True)
class Scene:
    """Who takes part."""

    world: World
    replica: Replica
    proxy: Proxy
    names: tuple[str, ...]

    async def cold(self) -> list[Row]:
        """Create all, and wait for all children, and then until nothing is left to do."""
        extra = {kind: await _count(self.world, kind) for kind in CHILDREN}  # what each namespace has anyway
        began = time.monotonic()
        await _all(self.world.create(name) for name in self.names)

        async def are_there() -> bool:
            for kind in CHILDREN:
                if await _count(self.world, kind) - extra[kind] < len(self.names):
                    return False
            return True

        await until(are_there, PATIENCE, "all children are there", pause=1.0)
        took = time.monotonic() - began
        await until(self._are_settled, PATIENCE, "all are ready", pause=5.0)  # the cluster's controllers are slower
        await self.quiet()
        return [
            Row(f"{len(self.names)} resources applied cold: all children there", took, 120, "s"),
            Row("memory of the operator, at most", self.replica.peak / 2**20, 300, "MiB"),
        ]

    async def restart(self) -> list[Row]:
        """Stop and start, and wait until the new process has looked at everything."""
        await self.replica.stop()
        began = time.monotonic()
        await self.replica.start()
        await self.quiet()
        took = time.monotonic() - began - QUIET
        return [
            Row(f"restart with {len(self.names)} resources: synced", took, 60, "s"),
            Row("writes of the restart", len(self.proxy.writes(began)), 0, "writes"),
            Row("memory after the restart, at most", self.replica.peak / 2**20, 300, "MiB"),
        ]

    async def idle(self, seconds: float) -> list[Row]:
        """Leave it alone."""
        began, cpu = time.monotonic(), self.replica.cpu_seconds
        await asyncio.sleep(seconds)
        share = 100 * (self.replica.cpu_seconds - cpu) / (time.monotonic() - began)
        return [
            Row(f"idle for {seconds:.0f} s: writes", len(self.proxy.writes(began)), 0, "writes"),
            Row("CPU while idle", share, 2, "%"),
        ]

    async def change(self, number: int) -> list[Row]:
        """Change so many at once; a time is from the API server's answer to the user until its answer to the operator."""
        began = time.monotonic()
        names = self.names[:number]
        stored: dict[str, float] = {}

        async def change(name: str) -> None:
            await self.world.patch(RESOURCE, name, {"spec": {"images": {"maxSize": 640}}})
            stored[name] = time.monotonic()

        await _all((change(name) for name in names), at_once=number)

        async def all_applied() -> bool:
            return len(self._applied(began)) >= len(names)

        await until(all_applied, PATIENCE, "all changes are applied")
        applied = self._applied(began)
        times = sorted(max(applied[name] - stored[name], 0.0) for name in names)
        await self.quiet()
        return [
            Row(f"{number} changes at once, to children applied: p99", _p99(times), 1, "s"),
            Row("the same: median", statistics.median(times), 1, "s"),
        ]

    async def drift(self) -> list[Row]:
        """Change every owned field of every child of one resource; what others have written beside must stay."""
        name = self.names[-1]
        children = [(kind, f"{name}-config" if kind is CONFIG_MAP else name) for kind in CHILDREN]
        for kind, child in children:
            await self.world.patch(kind, child, {"metadata": FOREIGN})
        repairs = [one for kind, child in children for one in await vandalise(self.world, kind, child, 30)]
        times = sorted(one.seconds for one in repairs if one.seconds is not None)
        for one in repairs:
            if one.seconds is None:
                print(f"not repaired: {one.what}")
        lost = [
            child
            for kind, child in children
            if not _has_foreign(await self.world.api.get(kind, self.world.namespace, child))
        ]
        return [
            Row(f"drift of {len(repairs)} owned fields repaired: p99", _p99(times), 2, "s"),
            Row("owned fields not repaired", len(repairs) - len(times), 0, "fields"),
            Row("children that lost fields of others", len(lost), 0, "children"),
        ]

    async def quiet(self) -> None:
        """Wait until the queue has been empty, and nothing written, for a while."""
        since = time.monotonic()
        while time.monotonic() - since < QUIET:
            text = await self.replica.asked("/metrics") or ""
            is_idle = metric(text, "omega_operator_workqueue_depth") == 0 and metric(text, RECONCILES)
            if not is_idle or self.proxy.writes(since):
                since = time.monotonic()
            await asyncio.sleep(0.5)

    async def _are_settled(self) -> bool:
        return all(map(is_settled, await self.world.api.list(RESOURCE, self.world.namespace)))

    def _applied(self, since: float) -> dict[str, float]:
        """By resource: when its ConfigMap was applied."""
        paths = {CONFIG_MAP.path(self.world.namespace, f"{name}-config"): name for name in self.names}
        calls = [call for call in self.proxy.writes(since) if call.path in paths and call.status == 200]
        return {paths[call.path]: call.ended for call in reversed(calls) if call.ended is not None}


RECONCILES = "omega_operator_reconcile_total"

QUIET = 3.0
"""Seconds without work after which nothing is left to do."""


async def _count(world: World, kind: Kind) -> int:
    page = await world.api.request("GET", kind.path(world.namespace), query={"limit": "1"})
    return len(page["items"] or []) + int(page["metadata"].get("remainingItemCount", 0))


async def _all(acts: Any, at_once: int = AT_ONCE) -> None:
    gate = asyncio.Semaphore(at_once)

    async def one(act: Any) -> None:
        async with gate:
            await act

    await asyncio.gather(*(one(act) for act in acts))


def _p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[98]


def _has_foreign(child: Manifest | None) -> bool:
    return child is not None and all(child["metadata"].get(part, {}).get("theirs") == "1" for part in FOREIGN)


async def measure(admin: Path, *, resources: int, idle: float, changes: int) -> list[Row]:
    """All bars, one after the other."""
    rows: list[Row] = []
    async with operated(admin, "operator") as (world, replicas):
        ((replica, proxy),) = replicas.items()
        scene = Scene(world, replica, proxy, tuple(f"r{number}" for number in range(resources)))
        phases: tuple[Callable[[], Awaitable[list[Row]]], ...] = (
            scene.cold,
            scene.restart,
            lambda: scene.idle(idle),
            lambda: scene.change(changes),
            scene.drift,
        )
        for phase in phases:
            for row in await phase():
                print(row, flush=True)
                rows.append(row)
    return rows


def main() -> int:
    """Do what the arguments say; the result is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resources", type=int, default=1000)
    parser.add_argument("--idle", type=float, default=600, help="seconds")
    parser.add_argument("--changes", type=int, default=100, help="resources that change at once")
    given = parser.parse_args()
    print("| what | measured | bar | |\n|---|---|---|---|", flush=True)
    try:
        rows = asyncio.run(measure(kubeconfig(), resources=given.resources, idle=given.idle, changes=given.changes))
    except Broken as error:
        print(f"BROKEN: {error}", file=sys.stderr)
        return 1
    return 0 if all(row.is_kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
