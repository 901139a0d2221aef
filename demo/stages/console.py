"""How the demo looks: one line per stage, with its seconds; colour and movement only on a terminal."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

NAME_WIDTH = 11
TEXT_WIDTH = 72
MILESTONE = re.compile(r"\[ *[0-9.]+ s\] (.*)")
"""A line of tools/cluster that says what it does, with its seconds."""


class DemoError(Exception):
    """Something that stands in the way.

    Args:
        message: what is wrong.
        advice: what the reader can do about it.
        evidence: lines of a log or of a status that show it.
    """

    def __init__(self, message: str, advice: str, evidence: str = "") -> None:
        super().__init__(message)
        self.advice = advice
        self.evidence = evidence
        if evidence:
            self.add_note(evidence)  # for who sees it in a traceback: a test that goes through the demo's stages


@dataclass
class Stage:
    """One line of the demo while it is worked on."""

    name: str
    console: Console
    summary: str = ""
    started: float = field(default_factory=time.monotonic)
    _shown: str = ""

    def show(self, text: str) -> None:
        """Say what happens right now: replaces the line on a terminal, adds one elsewhere."""
        text = text.strip()
        if not text or text == self._shown:
            return
        self._shown = text
        self.console.progress(self, text)

    def follow(self, line: str) -> None:
        """Show a line of another program: its milestones everywhere, the rest where it can be replaced."""
        milestone = MILESTONE.match(line)
        if milestone:
            self.show(milestone[1])
        elif self.console.terminal:
            self.show(line)

    @property
    def seconds(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self.started


@dataclass
class Console:
    """A terminal, or a file that gets the same words without colour."""

    out: TextIO = field(default_factory=lambda: sys.stdout)

    @property
    def terminal(self) -> bool:
        """Whether lines can be coloured and replaced."""
        return self.out.isatty()

    def say(self, text: str = "") -> None:
        """Print one line."""
        print(text, file=self.out, flush=True)

    def write(self, text: str) -> None:
        """Print a part of a line."""
        print(text, end="", file=self.out, flush=True)

    def paint(self, text: str, colour: str) -> str:
        """``text`` in ``colour`` (green, red, dim, bold) where that can be seen."""
        codes = {"green": "32", "red": "31", "dim": "2", "bold": "1"}
        return f"\x1b[{codes[colour]}m{text}\x1b[0m" if self.terminal else text

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Show a stage from its start to its end; set ``summary`` for what its line says in the end."""
        stage = Stage(name, self)
        if self.terminal:
            self.progress(stage, "...")
        try:
            yield stage
        except DemoError:
            self._close(stage, self.paint("failed", "red"), "failed")
            raise
        self._close(stage, stage.summary, stage.summary)

    def progress(self, stage: Stage, text: str) -> None:
        """Show that ``stage`` is at ``text``."""
        if not self.terminal:
            self.say(f"  {stage.name:<{NAME_WIDTH}} ... {text}")
            return
        room = shutil.get_terminal_size().columns - NAME_WIDTH - 15
        shown = text if len(text) <= room else text[: room - 3] + "..."
        self.write(f"\r\x1b[K  {stage.name:<{NAME_WIDTH}} {self.paint(shown, 'dim')} {stage.seconds:.0f} s")

    def _close(self, stage: Stage, text: str, bare: str) -> None:
        if self.terminal:
            self.write("\r\x1b[K")
        gap = " " * max(1, TEXT_WIDTH - len(bare))
        self.say(f"  {self.paint(f'{stage.name:<{NAME_WIDTH}}', 'bold')} {text}{gap}{stage.seconds:7.1f} s")

    def failure(self, error: DemoError) -> None:
        """Say what stood in the way, what shows it, and what to do."""
        self.say()
        self.say(textwrap.indent(str(error), "  "))
        if error.evidence:
            self.say()
            self.say(textwrap.indent(error.evidence.rstrip(), "    | "))
        self.say()
        self.say(textwrap.indent(f"What to do: {error.advice}", "  "))
