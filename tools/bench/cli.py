"""The command line, and the order of everything."""

import argparse
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
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
    """Measure, write, and return the exit code: 1 if a system failed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    if options.what == "gpu":
        return gpu.main(options.out)
    # Systems are ended when this process is, however that comes.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return _Cpu(options, command(options)).run()
    except RuntimeError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def command(options: argparse.Namespace) -> str:
    """How to measure the same again: without where it was written and what was noted."""
    said: list[str] = []
    for name in ("size", "rounds", "threads", "systems", "bars"):
        value = getattr(options, name)
        if value != _parser().get_default(name):
            said += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join([".venv/bin/python", "tools/bench", *said]) if said else "make bench"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("what", nargs="?", choices=("cpu", "gpu"), default="cpu", help="default: cpu")
    parser.add_argument("--size", choices=sorted(SIZES), default="small", help="of the requests (default: small)")
    parser.add_argument("--rounds", type=_count, default=5, help="of each workload (default: 5)")
    parser.add_argument("--threads", type=_count, nargs="+", default=[1, 2], help="of each system (default: 1 2)")
    parser.add_argument("--systems", nargs="*", choices=list(SYSTEMS), default=list(SYSTEMS), help="default: all")
    parser.add_argument("--bars", nargs="*", choices=BARS, default=list(BARS), help="default: all")
    parser.add_argument("--note", default="", help="a sentence for the table, such as what else the machine did")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to (default: docs/benchmarks)")
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1000):
        raise argparse.ArgumentTypeError("must be a whole number above 0")
    return int(text)


class _Cpu:
    """A run on the CPU: what was measured so far, and what could not be."""

    def __init__(self, options: argparse.Namespace, repeated_by: str) -> None:
        self._options = options
        self._command = repeated_by
        self._machine = machine.describe()
        self._commit = machine.commit()
        self._model = model.make(model.MOE, environments.cache() / "models")
        self._logs = bars.logs_of(environments.cache() / "logs")
        self._results: list[Result] = []
        self._bars: dict[str, Any] = {}
        self._left_out: dict[str, str] = {}

    def run(self) -> int:
        """Measure everything. What is there is written after each number of threads: the next may take long, or fail."""
        for threads in self._options.threads:
            setup = Setup(self._model, threads, self._logs)
            with ExitStack() as stack:
                systems = self._start(setup, stack)
                size, workloads = SIZES[self._options.size], WORKLOADS[self._options.size]
                count = self._options.rounds
                self._results += rounds.run(systems, workloads, size=size, threads=threads, rounds=count, say=_say)
                self._write()
                server = systems.get("omega-http")
                if threads == max(self._options.threads) and isinstance(server, Server):
                    self._bar("pictures_beside_answers", partial(bars.pictures_beside_answers, server, rounds=5))
                    self._bar("second_turn", partial(bars.second_turn, server, rounds=5))
        setup = Setup(self._model, max(self._options.threads), self._logs)
        self._bar("step_overhead", partial(bars.step_overhead, setup))
        self._bar("startup", partial(bars.startup, setup, rounds=5))
        for file in self._write():
            _say(f"wrote {file}")
        return 0

    def _start(self, setup: Setup, stack: ExitStack) -> dict[str, System]:
        """The systems that can be had on this machine; keeps why the others cannot."""
        systems: dict[str, System] = {}
        for name in self._options.systems:
            if name in self._left_out:
                continue
            _say(f"starting {name} with {setup.threads} thread{'s' if setup.threads > 1 else ''}")
            try:
                system = SYSTEMS[name](setup)
            except NoEnvironment as reason:
                self._leave_out(name, reason)
                continue
            except RuntimeError as reason:
                if name in rounds.OURS:
                    raise
                self._leave_out(name, reason)  # what can be measured without it is
                continue
            stack.callback(system.end)
            systems[name] = system
        return systems

    def _bar(self, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure one of them, if it was asked for; one that fails takes nothing else with it."""
        if name not in self._options.bars:
            return
        _say(f"measuring {name.replace('_', ' ')}")
        try:
            self._bars[name] = measure()
        except RuntimeError as reason:
            self._leave_out(name.replace("_", " "), reason)

    def _leave_out(self, what: str, reason: Exception) -> None:
        self._left_out[what] = str(reason).partition("\n")[0].rstrip(":")
        _say(f"left out: {reason}")

    def _write(self) -> list[Path]:
        text = model.MOE.text
        written = {
            "command": self._command,
            "commit": self._commit,
            "machine": self._machine,
            "note": self._options.note,
            "model": {
                "parameters": model.parameters(self._model),
                "shape": f"{text['num_hidden_layers']} layers of {text['hidden_size']}, "
                f"{text['num_experts']} experts of which {text['num_experts_per_tok']} work",
            },
            "size": self._options.size,
            "rounds": self._options.rounds,
            "systems": rounds.medians(self._results),
            "ratios": rounds.ratios(self._results),
            "bars": self._bars,
            "left_out": self._left_out,
        }
        return report.write(written, self._options.out, "cpu")


def _say(line: str) -> None:
    print(f"bench: {line}", flush=True)
