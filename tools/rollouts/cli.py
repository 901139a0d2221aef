"""The command line."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Iterable

from rollouts.judge import Ending, failures
from rollouts.states import state


def main() -> int:
    """Roll out, and print each ending and the sum. Exit code 1 if one is not as it should be."""
    parser = argparse.ArgumentParser(
        prog="tools/rollouts",
        description="Rollouts in random GPU clusters. Without --simulated: on the local cluster (make cluster), with kwok's "
        "nodes and the operator of this checkout, each in a namespace with nodes of its own, all of which go at the end.",
    )
    parser.add_argument("--simulated", action="store_true", help="in a small Kubernetes in memory")
    parser.add_argument("--states", type=int, default=24, metavar="N", help="how many (default: 24)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first one (default: 0)")
    parser.add_argument("--together", type=int, default=8, metavar="N", help="how many at a time (default: 8)")
    given = parser.parse_args()
    began = time.monotonic()
    numbers = range(given.first, given.first + given.states)
    ends: Iterable[Ending] = _simulated(numbers) if given.simulated else _real(numbers, given.together)
    bad, reasons, interrupted = 0, Counter[str](), 0
    for one in ends:
        wrong, ready = failures(one), one.conditions["Ready"]
        bad, interrupted = bad + bool(wrong), interrupted + (one.before > 0 and one.fewest == 0)
        reasons[ready["reason"]] += 1
        serving = f"{one.before} served, {one.fewest} at the worst moment, {one.new} new and {one.old} old in the end"
        print(
            f"{one.state.number:4} {one.state.kind:10} {one.state.strategy:10} {ready['reason']:15} {serving}",
            flush=True,
        )
        for what in wrong:
            print(f"     WRONG: {what}\n     {one.state}", flush=True)
    print(
        f"{given.states} rollouts in {time.monotonic() - began:.0f} s: {bad} not as they should be; "
        f"{interrupted} with downtime, all declared before; they ended {dict(reasons)}"
        if not bad
        else f"{bad} of {given.states} are not as they should be"
    )
    return bool(bad)


def _simulated(numbers: Iterable[int]) -> Iterable[Ending]:
    from rollouts.simulation import Simulation  # noqa: PLC0415 - the other way needs a cluster, this one none

    for number in numbers:
        one = Simulation(state(number))
        one.run()
        yield one.ending()


def _real(numbers: range, together: int) -> Iterable[Ending]:
    from rollouts.real import run  # noqa: PLC0415 - likewise

    for begin in range(numbers.start, numbers.stop, together):
        yield from asyncio.run(run(range(begin, min(begin + together, numbers.stop))))
