"""Logits to tokens, for all sequences of a step at once, each by its own parameters.

What a sequence gets depends on its own logits, parameters, seed and position only, never on what else is in the batch:
each token takes one number from a counter-based random sequence (SplitMix64 over seed and position) and looks it up in the
cumulative distribution. Order of the edits, as transformers' logits processors do it: repetition penalty, presence and
frequency penalty, logit_bias, min_tokens; then temperature, top_k, top_p, min_p.
"""

import secrets
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omega_server.engine.request import Sampling
from omega_server.engine.sequence import Sequence

# Up to so many candidates are found without sorting the whole vocabulary.
_FEW = 1024


@dataclass(frozen=True, slots=True)
class Sampled:
    """A sequence's next token, with logprobs if it asks for them."""

    id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(eq=False)
class _Rule:
    """A sequence's parameters, prepared.

    Attributes:
        sampling: as the request has it.
        seed: scrambled, so that neighbouring seeds have nothing in common.
        stops: tokens that end its answer.
        bias: tokens of logit_bias and what is added to them.
        seen: [vocabulary] bool, tokens of prompt and answer; only for a repetition penalty.
        counts: [vocabulary] float32, how often each is in the answer; only for presence and frequency penalties.
    """

    sampling: Sampling
    seed: int
    stops: Tensor
    bias: tuple[Tensor, Tensor] | None
    seen: Tensor | None
    counts: Tensor | None


class Sampler:
    """Keeps the parameters of each sequence, and of the last batch what need not be built again."""

    def __init__(self, vocabulary: int, end_tokens: Iterable[int], device: torch.device) -> None:
        self._vocabulary = vocabulary
        self._end_tokens = frozenset(end_tokens)
        self._device = device
        self._rules: dict[int, _Rule] = {}
        self._plan = _Plan((), [], device)

    def add(self, sequence: Sequence) -> None:
        """Prepare for a sequence, which may be known already."""
        if sequence.id in self._rules:
            return
        sampling = sequence.sampling
        stops = sorted(token for token in self._stops(sampling) if 0 <= token < self._vocabulary)
        bias = {token: value for token, value in sampling.logit_bias.items() if 0 <= token < self._vocabulary}
        seen = counts = None
        if sampling.repetition_penalty != 1.0:
            seen = torch.zeros(self._vocabulary, dtype=torch.bool, device=self._device)
            seen[torch.tensor(sequence.tokens, device=self._device)] = True
        if sampling.presence_penalty or sampling.frequency_penalty:
            answer = torch.tensor(sequence.tokens[sequence.prompt_length :], dtype=torch.int64, device=self._device)
            counts = torch.bincount(answer, minlength=self._vocabulary).float()
        self._rules[sequence.id] = _Rule(
            sampling=sampling,
            seed=_scramble(secrets.randbits(64) if sampling.seed is None else sampling.seed),
            stops=self._long(stops),
            bias=(self._long(bias), torch.tensor(list(bias.values()), device=self._device)) if bias else None,
            seen=seen,
            counts=counts,
        )

    def remove(self, sequence_id: int) -> None:
        """Forget a sequence; an unknown one is fine."""
        self._rules.pop(sequence_id, None)

    def stops(self, sequence: Sequence, token: int) -> bool:
        """Whether a token ends the answer."""
        sampling = sequence.sampling
        return token in sampling.stop_token_ids or (not sampling.ignore_eos and token in self._end_tokens)

    def sample(self, logits: Tensor, sequences: Many[Sequence]) -> list[Sampled | None]:
        """Choose the next token of each sequence. Changes nothing: the same call gives the same tokens.

        Args:
            logits: [n, vocabulary]
            sequences: n of them, added before.

        Returns:
            a token for each; None where the logits are not numbers.
        """
        ids = tuple(s.id for s in sequences)
        if ids != self._plan.ids:
            self._plan = _Plan(ids, [self._rules[i] for i in ids], self._device)
        plan = self._plan
        with torch.inference_mode():
            raw = logits.float()
            edited = self._edit(raw, sequences, plan)
            best, chosen = edited.max(dim=-1)
            for group in plan.groups:
                uniform = _uniforms(group.seeds, [sequences[row].answer_length for row in group.rows])
                drawn = group.draw(edited[group.index], torch.from_numpy(uniform).to(self._device))
                chosen[group.index] = drawn
            finite = best.isfinite().tolist()
            tokens = chosen.tolist()
            logprobs = self._logprobs(raw, tokens, plan)
        return [
            (logprobs.get(row) or Sampled(token)) if ok else None
            for row, (token, ok) in enumerate(zip(tokens, finite, strict=True))
        ]

    def commit(self, sequence: Sequence, token: int) -> None:
        """Take note that a token was appended to a sequence."""
        rule = self._rules[sequence.id]
        if rule.seen is not None:
            rule.seen[token] = True
        if rule.counts is not None:
            rule.counts[token] += 1

    def _stops(self, sampling: Sampling) -> set[int]:
        return set(sampling.stop_token_ids) | (set() if sampling.ignore_eos else self._end_tokens)

    def _edit(self, logits: Tensor, sequences: Many[Sequence], plan: "_Plan") -> Tensor:
        """Logits after penalties and biases: the same tensor if there are none."""
        early = [row for row in plan.held if sequences[row].answer_length < plan.rules[row].sampling.min_tokens]
        if not plan.repeated and not plan.counted and not plan.biased and not early:
            return logits
        logits = logits.clone()
        if plan.repeated:
            rows = self._long(plan.repeated)
            seen = torch.stack([r.seen for row in plan.repeated if (r := plan.rules[row]).seen is not None])
            penalty = self._column(plan.rules[row].sampling.repetition_penalty for row in plan.repeated)
            scores = logits[rows]
            logits[rows] = torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)
        if plan.counted:
            rows = self._long(plan.counted)
            counts = torch.stack([r.counts for row in plan.counted if (r := plan.rules[row]).counts is not None])
            presence = self._column(plan.rules[row].sampling.presence_penalty for row in plan.counted)
            frequency = self._column(plan.rules[row].sampling.frequency_penalty for row in plan.counted)
            logits[rows] -= (counts > 0) * presence + counts * frequency
        for row in plan.biased:
            bias = plan.rules[row].bias
            assert bias is not None
            logits[row].index_add_(0, *bias)
        for row in early:
            logits[row].index_fill_(0, plan.rules[row].stops, -torch.inf)
        return logits

    def _logprobs(self, raw: Tensor, tokens: list[int], plan: "_Plan") -> dict[int, Sampled]:
        """Sampled tokens with logprobs, by row, of the rows that ask for them."""
        if not plan.logged:
            return {}
        scores = raw[self._long(plan.logged)].log_softmax(-1)
        most = max(plan.rules[row].sampling.logprobs or 0 for row in plan.logged)
        values, ids = scores.topk(min(most, self._vocabulary))
        own = scores.gather(1, self._long(tokens[row] for row in plan.logged)[:, None])[:, 0].tolist()
        result = {}
        for place, (row, top_ids, top_values) in enumerate(
            zip(plan.logged, ids.tolist(), values.tolist(), strict=True)
        ):
            count = plan.rules[row].sampling.logprobs
            top = tuple(zip(top_ids[:count], top_values[:count], strict=True))
            result[row] = Sampled(tokens[row], own[place], top)
        return result

    def _long(self, values: Iterable[int]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.int64, device=self._device)

    def _column(self, values: Iterable[float]) -> Tensor:
        return torch.tensor(list(values), device=self._device)[:, None]


class _Plan:
    """Which rows of a batch need which treatment. Built when the batch changes, kept while it stays the same."""

    def __init__(self, ids: tuple[int, ...], rules: list[_Rule], device: torch.device) -> None:
        self.ids = ids
        self.rules = rules
        rows = range(len(rules))
        self.repeated = [row for row in rows if rules[row].seen is not None]
        self.counted = [row for row in rows if rules[row].counts is not None]
        self.biased = [row for row in rows if rules[row].bias is not None]
        self.held = [row for row in rows if rules[row].sampling.min_tokens > 0]
        self.logged = [row for row in rows if rules[row].sampling.logprobs is not None]
        random = [row for row in rows if rules[row].sampling.temperature > 0]
        few = [row for row in random if 0 < rules[row].sampling.top_k <= _FEW]
        rest = [row for row in random if not 0 < rules[row].sampling.top_k <= _FEW]
        by_rank = [row for row in rest if rules[row].sampling.top_k > 0 or rules[row].sampling.top_p < 1]
        plain = [row for row in rest if not (rules[row].sampling.top_k > 0 or rules[row].sampling.top_p < 1)]
        kinds = (few, _draw_few), (by_rank, _draw_ranked), (plain, _draw_plain)
        self.groups = [_Group(rows, [rules[row] for row in rows], draw, device) for rows, draw in kinds if rows]


@dataclass(frozen=True, slots=True)
class _Filters:
    """[n, 1] each; max_k is the largest top_k."""

    top_k: Tensor
    max_k: int
    top_p: Tensor
    min_p: Tensor


_Draw = Callable[[Tensor, _Filters, Tensor], Tensor]


class _Group:
    """Rows of a batch that are drawn in the same way."""

    def __init__(self, rows: list[int], rules: list[_Rule], draw: _Draw, device: torch.device) -> None:
        self.rows = rows
        self.index = torch.tensor(rows, device=device)
        self.seeds = np.array([rule.seed for rule in rules], dtype=np.uint64)
        self._draw = draw
        self._temperature = torch.tensor([[rule.sampling.temperature] for rule in rules], device=device)
        self._filters = _Filters(
            top_k=torch.tensor([[rule.sampling.top_k] for rule in rules], device=device),
            max_k=max(rule.sampling.top_k for rule in rules),
            top_p=torch.tensor([[rule.sampling.top_p] for rule in rules], dtype=torch.float64, device=device),
            min_p=torch.tensor([[rule.sampling.min_p] for rule in rules], dtype=torch.float64, device=device),
        )

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """[n] tokens from [n, vocabulary] logits and [n] uniform numbers."""
        return self._draw(logits / self._temperature, self._filters, uniform)


def _draw_few(scores: Tensor, filters: _Filters, uniform: Tensor) -> Tensor:
    """top_k is set and small: only the candidates are sorted."""
    best, ids = scores.topk(min(filters.max_k, scores.shape[-1]))
    return _draw_sorted(best, ids, filters, uniform)


def _draw_ranked(scores: Tensor, filters: _Filters, uniform: Tensor) -> Tensor:
    """top_p without a small top_k: any number of candidates."""
    best, ids = scores.sort(dim=-1, descending=True, stable=True)
    return _draw_sorted(best, ids, filters, uniform)


def _draw_sorted(best: Tensor, ids: Tensor, filters: _Filters, uniform: Tensor) -> Tensor:
    rank = torch.arange(best.shape[-1], device=best.device)
    best = best.masked_fill((filters.top_k > 0) & (rank >= filters.top_k), -torch.inf)
    share = best.double().softmax(-1)
    before = share.cumsum(-1) - share
    share = share.masked_fill((before >= filters.top_p) & (rank > 0), 0.0)
    share = share.masked_fill(share < filters.min_p * share[:, :1], 0.0)
    return ids.gather(-1, _look_up(share, uniform))[:, 0]


def _draw_plain(scores: Tensor, filters: _Filters, uniform: Tensor) -> Tensor:
    """Neither top_k nor top_p: in the order of the vocabulary."""
    share = scores.double().softmax(-1)
    share = share.masked_fill(share < filters.min_p * share.amax(-1, keepdim=True), 0.0)
    return _look_up(share, uniform)[:, 0]


def _look_up(share: Tensor, uniform: Tensor) -> Tensor:
    """[n, 1] the place of each uniform number in the cumulative distribution of [n, m] shares."""
    cumulative = share.cumsum(-1)
    place = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    return place.clamp_(max=share.shape[-1] - 1)


_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _scramble(seed: int) -> int:
    """A 64-bit seed from any integer, by one round of SplitMix64."""
    return int(_mix(np.array([(seed + _GOLDEN) & _MASK], dtype=np.uint64))[0])


def _uniforms(seeds: np.ndarray, positions: list[int]) -> np.ndarray:
    """[n] float64 in [0, 1): number `positions` of each seed's sequence. SplitMix64: Steele, Lea, Flood, OOPSLA 2014."""
    counter = np.array(positions, dtype=np.uint64) + np.uint64(1)
    return (_mix(seeds + counter * np.uint64(_GOLDEN)) >> np.uint64(11)) * 2.0**-53


def _mix(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
