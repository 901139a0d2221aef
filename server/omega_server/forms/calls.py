"""Calls of tools, read out of an answer's text as it comes; see grammar.py for what they look like."""

import re
import uuid
from dataclasses import dataclass, field

from omega_server.forms.grammar import ARGUMENTS, CLOSE, NAME, OPEN

_NAMED = re.compile(rf"{re.escape(NAME)}([^\"]*){re.escape(ARGUMENTS)}")


@dataclass(frozen=True)
class Words:
    """Text that belongs to no call."""

    text: str


@dataclass(frozen=True)
class CallBegins:
    """A call, as soon as it has a name.

    Attributes:
        index: counts the calls of an answer.
        name: of the function.
        id: for the answer to it.
    """

    index: int
    name: str
    id: str = field(default_factory=lambda: f"call_{uuid.uuid4().hex[:24]}")


@dataclass(frozen=True)
class CallGoesOn:
    """A piece of a call's arguments, which are JSON."""

    index: int
    arguments: str


Piece = Words | CallBegins | CallGoesOn


class Calls:
    """Takes the calls out of one answer.

    Attributes:
        complete: calls that have ended.
    """

    def __init__(self) -> None:
        self.complete = 0
        self._held = ""
        self._state = self._words
        self._begun = 0

    @property
    def ended(self) -> bool:
        """Whether there are calls, and all of them are complete."""
        return 0 < self._begun == self.complete and self._state == self._words

    def push(self, text: str, *, last: bool = False) -> list[Piece]:
        """What is certain now. With the last text nothing is held back, but for a call that has no name yet."""
        self._held += text
        pieces: list[Piece] = []
        while self._state(pieces, last):
            pass
        return pieces

    def _words(self, pieces: list[Piece], last: bool) -> bool:
        """Text, up to where a call begins. The space before a call belongs to neither."""
        text, mark, rest = self._held.partition(OPEN)
        if mark:
            self._say(pieces, text.rstrip())
            self._held, self._state = rest, self._name
            return True
        keep = 0 if last and not self.complete else len(text) - len(_certain(text, OPEN).rstrip())
        self._say(pieces, text[: len(text) - keep])
        self._held = text[len(text) - keep :]
        return False

    def _name(self, pieces: list[Piece], last: bool) -> bool:  # noqa: ARG002 - the states have one signature
        named = _NAMED.match(self._held)
        if not named:
            return False
        pieces.append(CallBegins(self._begun, named[1]))
        self._begun += 1
        self._held, self._state = self._held[named.end() :], self._arguments
        return True

    def _arguments(self, pieces: list[Piece], last: bool) -> bool:
        text, mark, rest = self._held.partition(CLOSE)
        certain = text if mark or last else _certain(text, CLOSE)
        if certain:
            pieces.append(CallGoesOn(self._begun - 1, certain))
        self._held = rest if mark else text[len(certain) :]
        if mark:
            self.complete += 1
            self._state = self._words
        return bool(mark)

    @staticmethod
    def _say(pieces: list[Piece], text: str) -> None:
        if text:
            pieces.append(Words(text))


def _certain(text: str, mark: str) -> str:
    """A text without an end that may be the beginning of a mark."""
    most = min(len(mark) - 1, len(text))
    overlap = next((n for n in range(most, 0, -1) if text.endswith(mark[:n])), 0)
    return text[: len(text) - overlap]
