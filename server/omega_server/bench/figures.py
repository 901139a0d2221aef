"""What was measured of each request, and what follows for all of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Record:
    """One request, in seconds of the same monotonic clock.

    Attributes:
        sent: when it was sent.
        pieces: when each piece of the answer's text came: tokens, if the server sends one at a time.
        ended: when its answer was complete, or when it failed.
        tokens: of the answer: what the server says, else the number of pieces.
        error: what went wrong, in few words; None if nothing did.
    """

    sent: float
    pieces: tuple[float, ...]
    ended: float
    tokens: int
    error: str | None = None


@dataclass(frozen=True)
class Figures:
    """What a load showed. Times are in seconds; what nothing was measured for is None.

    Attributes:
        requests: that were answered completely; the other figures are of these only.
        seconds: from the first request sent to the end of the last one.
        output_tokens: of all answers.
        output_tokens_per_s: over `seconds`.
        requests_per_s: over `seconds`.
        ttft_p50_s: time to the first piece of an answer, half are below.
        ttft_p99_s: 99 of 100 are below.
        itl_p50_s: time between two pieces of one answer.
        itl_p99_s: 99 of 100 are below.
        errors: how often what went wrong.
    """

    requests: int
    seconds: float
    output_tokens: int
    output_tokens_per_s: float
    requests_per_s: float
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    itl_p50_s: float | None
    itl_p99_s: float | None
    errors: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summarise(records: Sequence[Record]) -> Figures:
    """The figures of some records, at least one."""
    answered = [record for record in records if record.error is None]
    seconds = max(record.ended for record in records) - min(record.sent for record in records)
    tokens = sum(record.tokens for record in answered)
    first = [record.pieces[0] - record.sent for record in answered if record.pieces]
    between = gaps(answered)
    return Figures(
        requests=len(answered),
        seconds=seconds,
        output_tokens=tokens,
        output_tokens_per_s=tokens / seconds if seconds else 0.0,
        requests_per_s=len(answered) / seconds if seconds else 0.0,
        ttft_p50_s=percentile(first, 50),
        ttft_p99_s=percentile(first, 99),
        itl_p50_s=percentile(between, 50),
        itl_p99_s=percentile(between, 99),
        errors=dict(Counter(record.error for record in records if record.error is not None)),
    )


def gaps(records: Iterable[Record]) -> list[float]:
    """Times between two pieces of the same answer, of all answers."""
    return [later - earlier for record in records for earlier, later in pairwise(record.pieces)]


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The value that so many per cent are not above, linear between two values; None for no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
