"""What is written: figures as JSON, a table, a plot."""

import json
import statistics
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

ABOUT = {
    "omega-http": "this server, over HTTP",
    "omega-in-process": "this engine, in process",
    "vllm-cpu": "vLLM 0.32 on the CPU, compiled, over HTTP",
    "transformers-serve": "`transformers serve`, over HTTP",
    "micro-batching-2": "static batches of 2, 10 ms wait (the original's way), in process",
}
COLOURS = {
    "omega-http": "#0b5cad",
    "omega-in-process": "#5b9bd5",
    "vllm-cpu": "#e08214",
    "transformers-serve": "#7f7f7f",
    "micro-batching-2": "#b3b3b3",
}

GOALS = {
    ("small", "burst-16", "vllm-cpu"): 1.0,
    ("small", "burst-32", "transformers-serve"): 8.0,
    ("small", "burst-16", "micro-batching-2"): 8.0,
}
"""What was promised: by size, workload and other system, how many times its output tokens per second ours makes, at least."""


def write(report: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
    """NAME.json, NAME.md and NAME.svg in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        f"{name}.json": json.dumps(report, indent=2) + "\n",
        f"{name}.md": table(report, name),
        f"{name}.svg": plot(report["systems"]),
    }
    for file, content in contents.items():
        (folder / file).write_text(content)
    return [folder / file for file in contents]


def write_gpu(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """gpu.json and gpu.md in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"gpu.json": json.dumps(report, indent=2) + "\n", "gpu.md": gpu_table(report)}
    for file, content in files.items():
        (folder / file).write_text(content)
    return [folder / file for file in files]


def gpu_table(report: Mapping[str, Any]) -> str:
    """The page for people about a GPU."""
    machine = report["machine"]
    lines = [
        "# Benchmark: gpu",
        "",
        (
            f"Written by `{report['command']}` at commit {report['commit']}, {machine['date']}; do not edit. All figures: "
            "[gpu.json](gpu.json)."
        ),
        "",
        (
            f"GPU: {machine['gpu']}, whose memory moves {report['bandwidth_bytes_per_s'] / 1e9:.0f} GB/s (a copy, measured "
            f"first); torch {machine['torch']}, transformers {machine['transformers']}."
        ),
        "",
        (
            f"Model: the shape of Qwen3-VL-2B with {report['model']['parameters'] / 1e9:.2f} billion random weights, bfloat16, "
            "in process, greedy."
        ),
        "",
        "| sequences | step, ms | output tokens/s | share of the bandwidth |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['sequences']} | {1000 * row['step_s']:.2f} | {row['output_tokens_per_s']:.0f} "
        f"| {100 * row['share_of_bandwidth']:.0f} % |"
        for row in report["decode"]
    ]
    return "\n".join(lines) + "\n"


def table(report: Mapping[str, Any], name: str) -> str:
    """The page for people."""
    machine = report["machine"]
    lines = [
        f"# Benchmark: {name}",
        "",
        (
            f"Written by `{report['command']}` at commit {report['commit']}, {machine['date']}; do not edit. All figures: "
            f"[{name}.json]({name}.json)."
        ),
        "",
        (
            f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; Python {machine['python']}, "
            f"torch {machine['torch']}, transformers {machine['transformers']}; load at the start {machine['load_at_start']}."
        ),
    ]
    if report["note"]:
        lines += ["", f"**{report['note']}**"]
    lines += [
        "",
        (
            f"Model: {report['model']['parameters'] / 1e6:.1f} million random weights, {report['model']['shape']}, float32, "
            f"greedy. Requests: size {report['size']}, from seeds; each figure is the median of {report['rounds']} rounds, in "
            "which the systems took turns with the same requests."
        ),
        "",
        f"![Output tokens per second]({name}.svg)",
        "",
    ]
    for workload in dict.fromkeys(workload for system in report["systems"].values() for workload in system):
        lines += [*_workload(workload, report["systems"]), ""]
    lines += [*_ratios(report["ratios"], report["systems"], report["size"]), "", *_bars(report["bars"])]
    if report["left_out"]:
        lines += ["", "## Not measured", ""]
        lines += [f"- {system}: {reason}" for system, reason in report["left_out"].items()]
    return "\n".join(lines) + "\n"


def _workload(workload: str, systems: Mapping[str, Any]) -> list[str]:
    lines = [
        f"## {workload}",
        "",
        "| system | output tokens/s | requests/s | first token p50 / p99, s | between tokens p50 / p99, ms | CPU s | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for system, workloads in systems.items():
        if workload in workloads:
            m = workloads[workload]
            lines.append(
                f"| {ABOUT[system]} | {m['output_tokens_per_s']:.1f} | {m['requests_per_s']:.2f} "
                f"| {m['ttft_p50_s']:.2f} / {m['ttft_p99_s']:.2f} | {_ms(m['itl_p50_s'])} / {_ms(m['itl_p99_s'])} "
                f"| {m['cpu_s']:.1f} | {m['peak_rss_bytes'] / 2**20:.0f} |"
            )
    return lines


def _ms(seconds: float | None) -> str:
    return "whole answers" if seconds is None else f"{1000 * seconds:.0f}"


def _ratios(ratios: Mapping[str, Mapping[str, list[float]]], systems: Mapping[str, Any], size: str) -> list[str]:
    lines = [
        "## Ours against others",
        "",
        (
            "Output tokens per second, ours divided by the other's, within each round; and CPU seconds for the same answers, the "
            "other's divided by ours, which other work on the machine changes less. Above 1, ours is better. A goal is met when "
            "the median of tokens/s is."
        ),
        "",
        "| workload | pair | tokens/s, median | each round | CPU seconds | goal |",
        "|---|---|---|---|---|---|",
    ]
    for workload, pairs in ratios.items():
        for pair, values in pairs.items():
            each = ", ".join(f"{value:.2f}" for value in values)
            ours, other = pair.split(" / ")
            cpu = systems[other][workload]["cpu_s"] / systems[ours][workload]["cpu_s"]
            goal = GOALS.get((size, workload.partition(",")[0], other))
            median = statistics.median(values)
            shown = "" if goal is None else _goal(f">= {goal:g}", met=median >= goal)
            lines.append(f"| {workload} | {pair} | {median:.2f} | {each} | {cpu:.2f} | {shown} |")
    return lines


def _goal(goal: str, *, met: bool) -> str:
    return f"{goal}: {'met' if met else '**not met**'}"


def _bars(bars: Mapping[str, Any]) -> list[str]:
    lines = ["## Against itself", "", "| what | measured | goal |", "|---|---|---|"]
    if "pictures_beside_answers" in bars:
        bar = bars["pictures_beside_answers"]
        lines.append(
            "| p99 between tokens of running streams while a 10-picture request arrives, against idle "
            f"| {bar['ratio']:.2f} ({_ms(bar['busy_itl_p99_s'])} ms, idle {_ms(bar['idle_itl_p99_s'])} ms) "
            f"| {_goal('<= 3', met=bar['ratio'] <= 3)} |"
        )
    if "second_turn" in bars:
        bar = bars["second_turn"]
        lines.append(
            "| second turn about a 1080p picture: time to first token against the first turn "
            f"| {bar['ratio']:.2f} ({_ms(bar['second_ttft_s'])} ms, first {_ms(bar['first_ttft_s'])} ms) "
            f"| {_goal('<= 0.2', met=bar['ratio'] <= 0.2)} |"
        )
    if "step_overhead" in bars:
        bar = bars["step_overhead"]
        share = bar["share_outside"]
        shown = "cannot be told apart" if share is None else f"{100 * share:.0f} % of {_ms(bar['step_s'])} ms"
        goal = "<= 10 %" if share is None else _goal("<= 10 %", met=share <= 0.1)
        lines.append(f"| step of {bar['sequences']} sequences outside the model's forward | {shown} | {goal} |")
    if "startup" in bars:
        bar = bars["startup"]
        goal = _goal("<= 8 s", met=bar["startup_s"] <= 8)
        lines.append(f"| process start to ready, demo model | {bar['startup_s']:.1f} s | {goal} |")
    return lines


def plot(systems: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Bars of output tokens per second, as SVG: one group for each workload."""
    groups: dict[str, list[tuple[str, float]]] = {}
    for system, workloads in systems.items():
        for workload, metrics in workloads.items():
            groups.setdefault(workload, []).append((system, metrics["output_tokens_per_s"]))
    most = max((value for group in groups.values() for _, value in group), default=1.0)
    left, width, row, gap = 160, 480, 18, 30
    parts, y = [], 10
    for workload, group in groups.items():
        parts.append(f'<text x="10" y="{y + 13}" font-weight="bold">{escape(workload)}</text>')
        y += 22
        for system, value in group:
            length = width * value / most
            parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(system)}</text>')
            parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{row - 4}" fill="{COLOURS[system]}"/>')
            parts.append(f'<text x="{left + length + 6:.1f}" y="{y + 12}">{value:.1f}</text>')
            y += row
        y += gap - row
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 70}" height="{y}" font-family="sans-serif"'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    title = "<title>Output tokens per second</title>"
    return "\n".join([f'{head} font-size="12">', title, ground, *parts, "</svg>"]) + "\n"
