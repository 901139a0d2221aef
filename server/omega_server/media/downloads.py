"""Downloads that are kept, as HTTP permits: each for who asked, for as long as its answer said, least recently used out first.

What is kept for one tenant is never given to another, so an answer that is private stays so. An answer whose time is over is
asked for again by its ETag or its date, and not sent again if it has not changed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime

from cachetools import LRUCache

MAX_BYTES = 64 << 20
"""Bytes that are kept."""
MAX_SHARE = 4
"""A download of more than this fraction of all is not kept: it would push out everything else."""
OVERHEAD = 1024
"""Bytes of one that are not its data."""


@dataclass(frozen=True)
class Place:
    """What a download is kept under.

    Attributes:
        tenant: who asked; empty where everybody is one.
        policy: under which it was fetched; under another it might not be.
        url: its address.
    """

    tenant: bytes
    policy: tuple[str, ...]
    url: str


@dataclass(frozen=True)
class Stored:
    """A download.

    Attributes:
        data: as it was sent, in pieces.
        stale_at: on the clock, in seconds; from then on it must be asked for again.
        questions: header fields that ask whether it has changed.
    """

    data: Sequence[bytes]
    stale_at: float
    questions: Mapping[str, str]

    @property
    def size(self) -> int:
        """Of the data, in bytes."""
        return sum(map(len, self.data))


class Downloads:
    """What was downloaded. Belongs to one event loop."""

    def __init__(self, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing yet.

        Args:
            max_bytes: that are kept.
            clock: in seconds.
        """
        self._clock = clock
        self._most = max_bytes // MAX_SHARE
        self._stored: LRUCache[Place, Stored] = LRUCache(max_bytes, getsizeof=_size)

    def find(self, place: Place) -> Stored | None:
        """What is kept there, fresh or stale."""
        return self._stored.get(place)

    def fresh(self, stored: Stored) -> bool:
        """Whether it may be used without asking."""
        return self._clock() < stored.stale_at

    def keep(self, place: Place, data: Sequence[bytes], headers: Mapping[str, str]) -> None:
        """Keep an answer, if it permits that, in place of what was there.

        Args:
            place: to keep it under.
            data: its body, in pieces.
            headers: its header; the names in any case.
        """
        self._stored.pop(place, None)
        seconds = lifetime(headers, shared=not place.tenant)
        questions = _questions(headers)
        stored = Stored(data, self._clock() + (seconds or 0.0), questions)
        if seconds is not None and (seconds > 0 or questions) and _size(stored) <= self._most:
            self._stored[place] = stored

    def renew(self, place: Place, stored: Stored, headers: Mapping[str, str]) -> None:
        """It has not changed, says an answer: what that says about its time counts from now on."""
        seconds = lifetime(headers, shared=not place.tenant)
        self._stored.pop(place, None)
        if seconds is not None:
            self._stored[place] = replace(stored, stale_at=self._clock() + seconds)


def lifetime(headers: Mapping[str, str], *, shared: bool) -> float | None:
    """Seconds for which an answer may be used without asking; None if it may not be kept at all. See RFC 9111.

    Args:
        headers: of the answer.
        shared: whether it would be given to others than who asked.
    """
    said = _directives(headers.get("Cache-Control", headers.get("Pragma", "")))
    if "no-store" in said or (shared and "private" in said) or headers.get("Vary", "").strip() == "*":
        return None
    if "no-cache" in said:
        return 0.0
    for name in ("s-maxage", "max-age") if shared else ("max-age",):
        if name in said:
            return max(0.0, _seconds(said[name]) - _seconds(headers.get("Age", "0")))
    sent, expires = _date(headers.get("Date")), _date(headers.get("Expires"))
    return 0.0 if sent is None or expires is None else max(0.0, (expires - sent).total_seconds())


def _directives(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.lower().split(","))
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs}


def _seconds(text: str) -> float:
    """A number of seconds; nonsense is none, and a year is the most."""
    text = text.strip()
    return min(float(text), 31_536_000.0) if text.isascii() and text.isdigit() else 0.0


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _questions(headers: Mapping[str, str]) -> dict[str, str]:
    names = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
    return {question: headers[name] for name, question in names.items() if name in headers}


def _size(stored: Stored) -> int:
    return stored.size + OVERHEAD
