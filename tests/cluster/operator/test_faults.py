"""The operator keeps its word under faults: short versions of what tools/faults and tools/scale.py prove at length."""

from __future__ import annotations

from pathlib import Path

import pytest

import scale
from faults.freeze import freeze
from faults.kill import kill_everywhere
from faults.stage import operated
from faults.storms import outages, refusals

pytestmark = pytest.mark.usefixtures("definition")


async def test_killed_at_a_call(kubeconfig: Path) -> None:
    """Killed before or after any call of a reconcile, the operator brings about the same state, and nothing twice."""
    async with operated(kubeconfig, "operator") as (world, replicas):
        ((replica, proxy),) = replicas.items()
        assert "0 duplicates" in await kill_everywhere(world, proxy, replica, step=6)


async def test_outages_of_the_api_server(kubeconfig: Path) -> None:
    """What is changed while the API server is away is not lost."""
    async with operated(kubeconfig, "operator") as (world, replicas):
        ((_, proxy),) = replicas.items()
        assert "0 lost" in await outages(world, proxy, times=2, seconds=3, resources=5)


async def test_refused_writes(kubeconfig: Path) -> None:
    """Of all writes 85 % are refused: every change arrives, and no call comes before the end of its Retry-After."""
    async with operated(kubeconfig, "operator") as (world, replicas):
        ((_, proxy),) = replicas.items()
        assert "0 lost" in await refusals(world, proxy, seconds=5, resources=3)


async def test_a_frozen_leader(kubeconfig: Path) -> None:
    """Another replica takes over, and the two never write at the same time."""
    async with operated(kubeconfig, "first", "second") as (world, replicas):
        assert "0 overlapping" in await freeze(world, replicas, times=1, seconds=16, resources=3)


async def test_many_resources(kubeconfig: Path) -> None:
    """A new process and an idle one write nothing, and drift of every owned field is repaired beside what others own."""
    rows = await scale.measure(kubeconfig, resources=50, idle=5, changes=20)
    counts = [row for row in rows if row.most == 0]
    assert len(counts) >= 4
    assert [str(row) for row in counts if not row.is_kept] == []
