"""The command line, and the order of everything."""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import bars, environments, gpu, machine, model, report, rounds
from bench.environments import NoEnvironment
from bench.rounds import WORKLOADS, Result
from bench.systems import ROOT, SYSTEMS, Server, Setup, System
from omega_server.bench.workload import SIZES

OUT = ROOT / "docs" / "benchmarks"
BARS = ("pictures_beside_answers", "second_turn", "step_overhead", "startup")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write, and return the exit code: 1 if a system failed, and then nothing is written."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    if options.what == "gpu":
        return gpu.main(options.out)
    # Systems are ended when this process is, however that comes.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return _cpu(options, "make bench" if not arguments else "tools/bench " + shlex.join(arguments))
    except RuntimeError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("what", nargs="?", choices=("cpu", "gpu"), default="cpu", help="default: cpu")
    parser.add_argument("--size", choices=sorted(SIZES), default="small", help="of the requests (default: small)")
    parser.add_argument("--rounds", type=int, default=2, help="of each workload (default: 2)")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2], help="of each system (default: 1 2)")
    parser.add_argument("--systems", nargs="*", choices=list(SYSTEMS), default=list(SYSTEMS), help="default: all")
    parser.add_argument("--bars", nargs="*", choices=BARS, default=list(BARS), help="default: all")
    parser.add_argument("--note", default="", help="a sentence for the table, such as what else the machine did")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to (default: docs/benchmarks)")
    return parser


def _cpu(options: argparse.Namespace, command: str) -> int:
    where = machine.describe()
    commit = machine.commit()
    path = model.make(model.MOE, environments.cache() / "models")
    logs = bars.logs_of(environments.cache() / "logs")
    results: list[Result] = []
    measured: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for threads in options.threads:
        setup = Setup(path, threads, logs)
        with ExitStack() as stack:
            systems = _start(options.systems, setup, stack, left_out)
            load = WORKLOADS[options.size]
            results += rounds.run(
                systems, load, size=SIZES[options.size], threads=threads, rounds=options.rounds, say=_say
            )
            if threads == max(options.threads):
                measured |= _server_bars(systems.get("omega-http"), options)
    setup = Setup(path, max(options.threads, default=1), logs)
    if "step_overhead" in options.bars:
        measured["step_overhead"] = bars.step_overhead(setup)
    if "startup" in options.bars:
        measured["startup"] = bars.startup(setup, rounds=3)
    text = model.MOE.text
    written = {
        "command": command,
        "commit": commit,
        "machine": where,
        "note": options.note,
        "model": {
            "parameters": model.parameters(path),
            "shape": f"{text['num_hidden_layers']} layers of {text['hidden_size']}, "
            f"{text['num_experts']} experts of which {text['num_experts_per_tok']} work",
        },
        "size": options.size,
        "rounds": options.rounds,
        "systems": rounds.medians(results),
        "ratios": rounds.ratios(results),
        "bars": measured,
        "left_out": left_out,
    }
    for file in report.write(written, options.out, "cpu"):
        _say(f"wrote {file}")
    return 0


def _start(names: Sequence[str], setup: Setup, stack: ExitStack, left_out: dict[str, str]) -> dict[str, System]:
    """The systems that can be had on this machine; why the others cannot."""
    systems: dict[str, System] = {}
    for name in names:
        if name in left_out:
            continue
        _say(f"starting {name} with {setup.threads} thread{'s' if setup.threads > 1 else ''}")
        try:
            system = SYSTEMS[name](setup)
        except NoEnvironment as reason:
            left_out[name] = str(reason)
            _say(f"left out: {reason}")
            continue
        stack.callback(system.end)
        systems[name] = system
    return systems


def _server_bars(server: System | None, options: argparse.Namespace) -> dict[str, Any]:
    measured: dict[str, Any] = {}
    if isinstance(server, Server):
        if "pictures_beside_answers" in options.bars:
            measured["pictures_beside_answers"] = bars.pictures_beside_answers(server, rounds=3)
        if "second_turn" in options.bars:
            measured["second_turn"] = bars.second_turn(server, rounds=5)
    return measured


def _say(line: str) -> None:
    print(f"bench: {line}", flush=True)
