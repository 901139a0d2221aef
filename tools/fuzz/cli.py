"""The command line: what is fuzzed, for how long, and where a finding is kept."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path

import atheris

NAMES = ("picture", "video", "request")
RSS_MB = 1536
"""More resident memory than this is a finding. Python, Pillow and FFmpeg take 200; the limits of the targets are small."""
INPUT_SECONDS = 20
"""An input that takes longer is a finding."""
MAX_LENGTH = 64 * 1024
"""Bytes of an input."""


def main() -> int:
    """Fuzz one target. Ends with 0 when the time is over, with another code at the first finding."""
    options = _options()
    with atheris.instrument_imports(include=["omega_server", "PIL"]):
        from fuzz import targets  # noqa: PLC0415 - what is fuzzed must be imported here
    target = targets.make(options.name)
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "omega-vlm" / "fuzz" / options.name
    with tempfile.TemporaryDirectory() as scratch:
        # A run of so many inputs is to do the same each time, so it learns from no other.
        corpus = Path(scratch) / "corpus" if options.runs else own / "corpus"
        seeds = Path(scratch) / "seeds"
        findings = (options.findings or own / "findings").resolve()
        for directory in (corpus, seeds, findings):
            directory.mkdir(parents=True, exist_ok=True)
        for index, seed in enumerate(target.seeds()):
            (seeds / f"{index:03}").write_bytes(seed)
        words = Path(scratch) / "words"
        words.write_text("".join(f"{_quoted(word)}\n" for word in target.words()))
        bound = [f"-runs={options.runs}", "-seed=1"] if options.runs else [f"-max_total_time={options.seconds}"]
        arguments = [
            *(sys.argv[0], *bound, f"-rss_limit_mb={RSS_MB}", f"-timeout={INPUT_SECONDS}", f"-max_len={MAX_LENGTH}"),
            *(f"-dict={words}", f"-artifact_prefix={findings}/", "-print_final_stats=1", "-verbosity=1"),
            *(str(corpus), str(seeds)),
        ]
        # A process that a crash ends must not leave a file as large as its memory.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        child = os.fork()  # what fuzzes ends its process, whatever comes of it; the directory is ours to remove
        if child == 0:
            atheris.Setup(arguments, target.check, custom_mutator=target.mutate)
            atheris.Fuzz()
        return _code(os.waitpid(child, 0)[1], findings)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/fuzz", description=__doc__, allow_abbrev=False)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--seconds", type=int, default=600, help="how long (default: 600)")
    parser.add_argument("--runs", type=int, help="instead: so many inputs, the same each time")
    text = "where an input that breaks something is kept (default: in the cache directory)"
    parser.add_argument("--findings", type=Path, metavar="DIR", help=text)
    return parser.parse_args()


def _quoted(word: str) -> str:
    """As libFuzzer reads a dictionary."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"'


def _code(status: int, findings: Path) -> int:
    code = os.waitstatus_to_exitcode(status)
    if code:
        print(f"fuzz: something broke ({code}); the input is in {findings}", flush=True)
    return abs(code)
