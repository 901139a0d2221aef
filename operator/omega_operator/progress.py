"""How far a download is, as its pod tells it, and in words. Pure."""

import json
from dataclasses import dataclass

SILENCE = 20
"""Seconds without a byte after which people are told."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Progress:
    """What GET /progress of a download answers."""

    bytes: int
    """On disk and checked."""

    total: int
    """Bytes of the model; 0: not known yet."""

    rate: int
    """Bytes per second, lately."""

    silent: int
    """Seconds in which nothing has come."""

    trouble: str | None
    """Why nothing comes, in the download's words."""

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come for so long that people should know."""
        return self.silent >= SILENCE

    @property
    def words(self) -> str:
        """For a status: 12.3 of 60.1 GiB (20 %), 230 MiB/s, 4 min left."""
        if not self.total:
            return "the hub is being asked"
        share = f"{_amount(self.bytes, self.total)} of {size(self.total)} ({self.bytes * 100 // self.total} %)"
        if self.is_silent:
            return f"{share}, nothing has come for {self.silent} s"
        if not self.rate:
            return share
        return f"{share}, {size(self.rate)}/s, {_time((self.total - self.bytes) / self.rate)} left"


def parse(text: bytes | None) -> Progress | None:
    """What an answer says; None for no answer, or one of something else that listens on the port."""
    try:
        said = json.loads(text or b"")
        trouble = said["trouble"]
        numbers = {name: max(int(said[name]), 0) for name in ("bytes", "total", "rate", "silent")}
    except (ValueError, KeyError, TypeError):
        return None
    return Progress(**numbers, trouble=trouble and str(trouble)[:300])


def size(count: int) -> str:
    """Bytes for people, with three digits: 60.1 GiB."""
    return f"{_amount(count, count)} {_UNITS[_power(count)]}"


def _amount(count: int, scale: int) -> str:
    """A number in the unit of another."""
    value = count / 1024 ** _power(scale)
    return f"{value:.0f}" if value >= 100 or not _power(scale) else f"{value:.1f}"


def _power(count: int) -> int:
    return min(max(count.bit_length() - 1, 0) // 10, len(_UNITS) - 1)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
