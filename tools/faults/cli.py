"""The command line."""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import faults
from faults.freeze import freeze
from faults.kill import kill_everywhere
from faults.stage import operated
from faults.storms import outages, refusals, watches
from faults.world import Broken
from operator_process import ROOT

PROOFS = ("kill", "outages", "errors", "watches", "freeze")


def kubeconfig() -> Path:
    """Of the cluster that KUBECONFIG names, else of the local one."""
    if given := os.environ.get("KUBECONFIG"):
        return Path(given)
    command = [sys.executable, str(ROOT / "tools/cluster"), "kubeconfig"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


async def prove(given: argparse.Namespace) -> str:
    """One proof; returns its result in a sentence."""
    names = ("first", "second") if given.proof == "freeze" else ("operator",)
    async with operated(kubeconfig(), *names) as (world, replicas):
        replica, proxy = next(iter(replicas.items()))
        if given.proof == "kill":
            return await kill_everywhere(world, proxy, replica, step=given.step)
        if given.proof == "freeze":
            return await freeze(
                world, replicas, times=given.times or 3, seconds=given.seconds or 30, resources=given.resources
            )
        supervisor = asyncio.create_task(replica.supervise())
        try:
            if given.proof == "outages":
                return await outages(
                    world, proxy, times=given.times or 20, seconds=given.seconds or 60, resources=given.resources
                )
            if given.proof == "errors":
                return await refusals(world, proxy, seconds=given.seconds or 60, resources=given.resources)
            return await watches(world, proxy, replica, resources=given.resources)
        finally:
            supervisor.cancel()


def main() -> int:
    """Do what the arguments say; the result is the exit code."""
    parser = argparse.ArgumentParser(description=faults.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proof", choices=PROOFS)
    parser.add_argument("--resources", type=int, default=20, help="how many are there (not for kill)")
    parser.add_argument("--times", type=int, help="outages (20) or freezes (3)")
    parser.add_argument("--seconds", type=float, help="of an outage (60), of refusals (60), of a freeze (30)")
    parser.add_argument("--step", type=int, default=1, help="kill at every so manieth call only")
    given = parser.parse_args()
    began = time.monotonic()
    try:
        result = asyncio.run(prove(given))
    except Broken as error:
        print(f"BROKEN: {error}", file=sys.stderr)
        return 1
    print(f"{given.proof}: {result} ({time.monotonic() - began:.0f} s)")
    return 0
