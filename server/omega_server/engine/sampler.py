"""Logits to tokens, for all sequences of a step at once, each by its own parameters.

What a sequence gets depends on its own logits, parameters, seed and position only, never on what else is in the batch:
each token takes one number from a counter-based random sequence (seed and position) and looks it up in the cumulative
distribution. First the logits of single tokens are edited (edits.py); then temperature, top_k, top_p and min_p choose,
in the order of transformers' logits processors (draw.py).
"""

import secrets
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Many
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from omega_server.engine.draw import Group, Scores, kind, scramble, uniforms
from omega_server.engine.edits import Marks, edited, marks_of
from omega_server.engine.grammar import Grammar, bits, masked, unless_only
from omega_server.engine.request import Sampling
from omega_server.engine.sequence import Sequence

_TOP = 64
"""More than anybody may ask for with top_logprobs."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """A sequence's next token, with logprobs if it asks for them."""

    id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, eq=False)
class _Rule:
    """A sequence's parameters, prepared.

    Attributes:
        sampling: as the request has it.
        seed: scrambled.
        marks: the logits that are edited.
        grammar: which tokens may come.
        stops: bits of the tokens that end the answer, where a grammar says whether they may.
    """

    sampling: Sampling
    seed: int
    marks: Marks | None
    grammar: Grammar | None
    stops: np.ndarray

    def allowed(self, grammar: Grammar, answered: int) -> np.ndarray:
        """The tokens that may come after so many, as bits. Before min_tokens none that ends the answer, if any other may."""
        allowed = grammar.allowed()
        return unless_only(allowed, self.stops) if answered < self.sampling.min_tokens else allowed


class Sampler:
    """Keeps the parameters of each sequence, and of the last batch what need not be built again."""

    def __init__(self, vocabulary: int, end_tokens: Iterable[int], device: torch.device) -> None:
        self._vocabulary = vocabulary
        self._end_tokens = frozenset(end_tokens)
        self._device = device
        self._rules: dict[int, _Rule] = {}
        self._plan = _Plan((), [], vocabulary, device)

    def add(self, sequence: Sequence, grammar: Grammar | None = None) -> None:
        """Prepare for a sequence, which may be known already, and may have a part of its answer.

        Args:
            sequence: whose tokens will be chosen.
            grammar: the form of its answer, at its beginning. Where the form has ended, the answer ends, whatever
                min_tokens and ignore_eos say.
        """
        if sequence.id in self._rules:
            return
        sampling = sequence.sampling
        if grammar is not None:
            for token in sequence.tokens[sequence.prompt_length :]:
                grammar.accept(token)
        self._rules[sequence.id] = _Rule(
            sampling=sampling,
            seed=scramble(secrets.randbits(64) if sampling.seed is None else sampling.seed),
            marks=marks_of(sequence, () if grammar else self._stops(sampling), self._vocabulary),
            grammar=grammar,
            stops=bits(self._end_tokens | set(sampling.stop_token_ids) if grammar else ()),
        )

    def remove(self, sequence_id: int) -> None:
        """Forget a sequence; an unknown one is fine."""
        if self._rules.pop(sequence_id, None) is not None:
            self._plan = _Plan((), [], self._vocabulary, self._device)

    def stops(self, sequence: Sequence, token: int) -> bool:
        """Whether a token ends the answer."""
        sampling, formed = sequence.sampling, self._rules[sequence.id].grammar is not None
        return token in sampling.stop_token_ids or (token in self._end_tokens and (formed or not sampling.ignore_eos))

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
            self._plan = _Plan(ids, [self._rules[i] for i in ids], self._vocabulary, self._device)
        plan = self._plan
        lengths = [s.answer_length for s in sequences]
        with torch.inference_mode():
            logits = logits.contiguous()
            with _edited(logits, lengths, plan) as seen:
                scores = Scores(seen)
                chosen = scores.greedy()
                for group in plan.groups:
                    uniform = uniforms(
                        [plan.rules[row].seed for row in group.rows], [lengths[row] for row in group.rows]
                    )
                    rows, drawn = group.draw(scores, torch.from_numpy(uniform).to(self._device))
                    chosen[rows] = drawn
                finite = scores.best.isfinite().tolist()
            tokens = chosen.tolist()
            logprobs = self._logprobs(logits, tokens, plan) if plan.logged else {}
        return [
            (logprobs.get(row) or Sampled(token)) if ok else None
            for row, (token, ok) in enumerate(zip(tokens, finite, strict=True))
        ]

    def commit(self, sequence: Sequence, token: int) -> None:
        """Take note that a token was appended to a sequence."""
        rule = self._rules[sequence.id]
        if rule.marks is not None:
            rule.marks.note(token)
        if rule.grammar is not None:
            rule.grammar.accept(token)

    def _stops(self, sampling: Sampling) -> set[int]:
        return set(sampling.stop_token_ids) | (set() if sampling.ignore_eos else self._end_tokens)

    def _logprobs(self, logits: Tensor, tokens: list[int], plan: "_Plan") -> dict[int, Sampled]:
        """Sampled tokens with logprobs, by row, of the rows that ask for them."""
        scores = Scores(logits)
        rows = torch.tensor(plan.logged, device=self._device)
        weight = scores.weights(rows, torch.ones((len(rows), 1), device=self._device)).sum(-1)
        total = scores.best[rows].double() + weight.log()
        chosen = torch.tensor([tokens[row] for row in plan.logged], device=self._device)
        own = (logits[rows, chosen].double() - total).tolist()
        values, likeliest = scores.largest(rows, _TOP)
        top = zip(likeliest.tolist(), (values.double() - total[:, None]).tolist(), strict=True)
        result = {}
        for row, logprob, (others, their) in zip(plan.logged, own, top, strict=True):
            count = plan.rules[row].sampling.logprobs
            result[row] = Sampled(tokens[row], logprob, tuple(zip(others[:count], their[:count], strict=True)))
        return result


class _Plan:
    """Which rows of a batch need which treatment. Built when the batch changes, kept while it stays the same."""

    def __init__(self, ids: tuple[int, ...], rules: list[_Rule], vocabulary: int, device: torch.device) -> None:
        self.ids = ids
        self.rules = rules
        self.edited = [(row, rule.marks) for row, rule in enumerate(rules) if rule.marks is not None]
        self.formed = [(row, rule, rule.grammar) for row, rule in enumerate(rules) if rule.grammar is not None]
        self.logged = [row for row, rule in enumerate(rules) if rule.sampling.logprobs is not None]

        def kind_of(row: int) -> tuple[int, bool]:
            return kind(rules[row].sampling, vocabulary)

        random = sorted((row for row, rule in enumerate(rules) if rule.sampling.temperature > 0), key=kind_of)
        groups = [list(rows) for _, rows in groupby(random, kind_of)]
        self.groups = [Group(rows, [rules[row].sampling for row in rows], vocabulary, device) for rows in groups]


@contextmanager
def _edited(logits: Tensor, lengths: list[int], plan: _Plan) -> Iterator[Tensor]:
    """The logits to choose by; those that were given are the same afterwards."""
    if not plan.edited and not plan.formed:
        yield logits
        return
    logits = logits.float()  # a penalty may be smaller than what bfloat16 can tell apart
    with ExitStack() as stack:
        if plan.edited:
            stack.enter_context(edited(logits, [(row, marks, lengths[row]) for row, marks in plan.edited]))
        if plan.formed:
            masks = [(row, rule.allowed(grammar, lengths[row])) for row, rule, grammar in plan.formed]
            stack.enter_context(masked(logits, masks))
        yield logits
