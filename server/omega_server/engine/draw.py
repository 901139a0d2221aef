"""A token out of each row of logits: the largest, or one that is drawn.

No row is sorted whole unless it must be. Of each span of 64 neighbouring logits the largest is known; the largest few of
a row lie in the spans with the largest of those, and a draw that is bounded by top_k, top_p or min_p needs no more than
a few. Where a few turn out not to be enough, more are taken, and at last all.

What a row gets is decided by its own logits, parameters and uniform number. Tokens stand in one order, the likeliest first
and of equally likely ones the lower id, and a token counts only if all that are as likely have been seen: so it makes no
difference which of several equal logits a search happens to find.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omega_server.engine.request import Sampling

_SPAN = 64
_FEW, _SOME, _MANY = 64, 512, 4096
"""How many of the largest logits are looked at, first and then, if that is much less than all; at last it is all."""
_CPU_WEIGHTS = 1 << 20
"""Weights that are computed together: they fit into a CPU's cache."""
_COLDEST = 1e-6
"""Below this temperature only equal logits share the probability, and float32 can do no more."""
_BELOW_ONE = 1.0 - 2.0**-53


class Scores:
    """The logits of a step, and where the large ones are.

    Attributes:
        logits: [n, vocabulary]
        best: [n] the largest of each row; not finite if the row has something that is no number.
    """

    def __init__(self, logits: Tensor) -> None:
        """Look for the largest of each span. `logits` must be contiguous, and must not change afterwards."""
        self.logits = logits
        self._span = math.gcd(logits.shape[1], _SPAN)
        self._spans = logits.view(-1, self._span)
        self._peaks = self._spans.amax(-1).view(len(logits), -1)
        self._first = torch.arange(len(logits), device=logits.device) * self._peaks.shape[1]
        self.best, self._best_span = self._peaks.max(-1)

    def greedy(self) -> Tensor:
        """[n] the token of the largest logit of each row; the lower id of equal ones."""
        within = self._spans[self._first + self._best_span].argmax(-1)
        return self._best_span * self._span + within

    def largest(self, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The largest logits of some rows, in order, and their tokens; all of them if there are no more than `count`.

        Of the logits that equal the last one some may be missing.

        Args:
            rows: [m]
            count: how many.

        Returns:
            [m, count] logits in the dtype of the logits, [m, count] tokens.
        """
        if count >= self.logits.shape[1]:
            values, tokens = self.logits[rows].sort(dim=-1, descending=True, stable=True)
            return values, tokens
        if count >= self._peaks.shape[1]:  # one may be in each span
            values, tokens = self.logits[rows].topk(count)
        else:
            spans = self._peaks[rows].topk(count).indices
            values, places = self._spans[self._first[rows, None] + spans].flatten(1).topk(count)
            tokens = spans.gather(1, places // self._span) * self._span + places % self._span
        tokens, order = tokens.sort(dim=-1)
        values, again = values.gather(1, order).sort(dim=-1, descending=True, stable=True)
        return values, tokens.gather(1, again)

    def weights(self, rows: Tensor, temperature: Tensor) -> Tensor:
        """[m, spans] float64: the sum of exp((logit - best) / temperature) over each span of some rows.

        Args:
            rows: [m]
            temperature: [m, 1]
        """
        together = max(1, _CPU_WEIGHTS // self.logits.shape[1]) if rows.device.type == "cpu" else len(rows)
        sums = []
        for some, heat in zip(rows.split(together), temperature.float().split(together), strict=True):
            weight = self.logits[some].float()
            weight -= self.best[some, None]
            weight /= heat
            sums.append(weight.exp_().view(len(some), -1, self._span).sum(-1))
        return torch.cat(sums).double()

    def anywhere(self, rows: Tensor, temperature: Tensor, uniform: Tensor) -> Tensor:
        """[m] tokens, any token as likely as the model says.

        Args:
            rows: [m]
            temperature: [m, 1]
            uniform: [m] in [0, 1)
        """
        weights = self.weights(rows, temperature)
        cumulative = weights.cumsum(-1)
        target = uniform[:, None] * cumulative[:, -1:]
        span = torch.searchsorted(cumulative, target, right=True).clamp_(max=weights.shape[1] - 1)
        own = weights.gather(1, span)
        rest = (target - (cumulative.gather(1, span) - own)) / own
        logits = self._spans[self._first[rows] + span[:, 0]].double()
        within = ((logits - self.best[rows, None]) / temperature).exp_()
        return span[:, 0] * self._span + _look_up(within, rest[:, 0].clamp(0.0, _BELOW_ONE))


@dataclass(frozen=True, slots=True)
class Filters:
    """What bounds the draws of m rows. All are [m, 1].

    Attributes:
        temperature: float64
        top_k: int64, 0 or less is off.
        top_p: float64, 1 is off.
        min_p: float64, 0 is off.
        mass: float64, what top_p is a share of: the weight of the whole row; only used without top_k.
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor
    mass: Tensor

    def of(self, rows: Tensor) -> "Filters":
        """Those of some of the rows."""
        return Filters(self.temperature[rows], self.top_k[rows], self.top_p[rows], self.min_p[rows], self.mass[rows])


class Group:
    """Rows of a batch that are drawn in the same way."""

    def __init__(self, rows: list[int], samplings: list[Sampling], vocabulary: int, device: torch.device) -> None:
        """The rows must have one `kind`."""
        self.rows = rows
        self._index = torch.tensor(rows, device=device)
        few, self._of_mass = kind(samplings[0], vocabulary)
        more = [width for width in (_SOME, _MANY) if few < width < vocabulary / 8]
        self._widths = [few, *more, vocabulary] if few else []
        self._filters = Filters(
            temperature=_column([max(s.temperature, _COLDEST) for s in samplings], device),
            top_k=torch.tensor([[s.top_k] for s in samplings], device=device),
            top_p=_column([s.top_p for s in samplings], device),
            min_p=_column([s.min_p for s in samplings], device),
            mass=_column([math.inf] * len(rows), device),
        )

    def draw(self, scores: Scores, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """[m] the rows, and a token for each, by [m] uniform numbers."""
        filters = self._filters
        if not self._widths:
            return self._index, scores.anywhere(self._index, filters.temperature, uniform)
        if self._of_mass:
            filters.mass.copy_(scores.weights(self._index, filters.temperature).cumsum(-1)[:, -1:])
        return self._index, _ranked(scores, self._index, self._widths, filters, uniform)


def _column(values: list[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=device)[:, None]


def kind(sampling: Sampling, vocabulary: int) -> tuple[int, bool]:
    """How a row is drawn: by how many of its largest logits first (0: by all, unordered), and whether by the weight of all."""
    if 0 < sampling.top_k < vocabulary:
        width = max(_FEW, 1 << sampling.top_k.bit_length())  # more than top_k, to see where equal ones end
        return (width if width <= _MANY else vocabulary), False
    if sampling.top_p < 1.0:
        return _FEW, True
    return (_FEW if sampling.min_p > 0.0 else 0), False


def _ranked(scores: Scores, rows: Tensor, widths: list[int], filters: Filters, uniform: Tensor) -> Tensor:
    tokens, settled = _among(scores, rows, widths[0], filters, uniform)
    if len(widths) > 1 and not settled.all():
        rest = (~settled).nonzero()[:, 0]
        tokens[rest] = _ranked(scores, rows[rest], widths[1:], filters.of(rest), uniform[rest])
    return tokens


def _among(scores: Scores, rows: Tensor, width: int, filters: Filters, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """[m] tokens drawn from the `width` largest, and whether none of those that are smaller could have been drawn."""
    best, tokens = scores.largest(rows, width)
    weight = ((best.double() - best[:, :1]) / filters.temperature).exp_()
    last = best.gather(1, (filters.top_k - 1).clamp(0, best.shape[1] - 1))
    weight.masked_fill_((filters.top_k > 0) & (best < last), 0.0)
    cumulative = weight.cumsum(-1)
    mass = torch.where(filters.top_k > 0, cumulative[:, -1:], filters.mass)
    kept = (cumulative - weight < filters.top_p * mass) & (weight >= filters.min_p) & (weight > 0.0)
    weight.masked_fill_(~kept, 0.0)
    place = _look_up(weight, uniform)
    return tokens.gather(1, place[:, None])[:, 0], ~(kept & (best == best[:, -1:])).any(-1)


def _look_up(weight: Tensor, uniform: Tensor) -> Tensor:
    """[m] the place of each of m uniform numbers in the cumulative distribution of [m, k] weights."""
    cumulative = weight.cumsum(-1)
    place = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    return place.clamp_(max=weight.shape[1] - 1)[:, 0]


_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def scramble(seed: int) -> int:
    """A 64-bit seed from any integer, so that neighbouring seeds have nothing in common."""
    return int(_mix(np.array([(seed + _GOLDEN) & _MASK], dtype=np.uint64))[0])


def uniforms(seeds: list[int], positions: list[int]) -> np.ndarray:
    """[n] float64 in [0, 1): number `positions` of each scrambled seed's sequence.

    SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    counter = np.array(positions, dtype=np.uint64) + np.uint64(1)
    return (_mix(np.array(seeds, dtype=np.uint64) + counter * np.uint64(_GOLDEN)) >> np.uint64(11)) * 2.0**-53


def _mix(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
