"""What penalties, biases and bans do to the logits of single tokens, before one is chosen.

A sequence's edits touch few tokens: those of its prompt and answer, of logit_bias, and those that may not come yet. They
are kept as a row of arrays for each sequence, which grows by one entry at most with each token, so that a step touches
only these logits, and all sequences of a step together. The logits are put back afterwards: who wants the model's own
probabilities finds them unchanged.

In the order of transformers' processors: repetition penalty, presence and frequency penalty, logit_bias, min_tokens.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Many
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from omega_server.engine.sequence import Sequence

_ROOM = 64
"""Entries of a new row."""


class Marks:
    """The edits of one sequence.

    Attributes:
        tokens: [length] int64, each once.
        values: [4, length] float32: how often it is in the answer; whether the repetition penalty counts (1 or 0); its
            bias; whether it may not come before min_tokens (1 or 0).
    """

    def __init__(self, sequence: Sequence, stops: Iterable[int], vocabulary: int) -> None:
        """Edits for a sequence with a prompt, and perhaps a part of an answer."""
        self.sampling = sequence.sampling
        self._repetition = self.sampling.repetition_penalty != 1.0
        self._counts = bool(self._repetition or self.sampling.presence_penalty or self.sampling.frequency_penalty)
        self._places: dict[int, int] = {}
        self._tokens = np.empty(_ROOM, dtype=np.int64)
        self._values = np.zeros((4, _ROOM), dtype=np.float32)
        if self._repetition:
            for token in sequence.tokens[: sequence.prompt_length]:
                self._set(1, token, 1.0)
        for token in sequence.tokens[sequence.prompt_length :]:
            self.note(token)
        for token, bias in self.sampling.logit_bias.items():
            if 0 <= token < vocabulary:
                self._set(2, token, bias)
        if self.sampling.min_tokens > 0:
            for token in stops:
                if 0 <= token < vocabulary:
                    self._set(3, token, 1.0)

    @property
    def tokens(self) -> np.ndarray:
        """See above."""
        return self._tokens[: len(self._places)]

    @property
    def values(self) -> np.ndarray:
        """See above."""
        return self._values[:, : len(self._places)]

    def note(self, token: int) -> None:
        """A token was appended to the answer."""
        if self._counts:
            place = self._place(token)
            self._values[0, place] += 1.0
            self._values[1, place] = self._repetition

    def _set(self, what: int, token: int, value: float) -> None:
        place = self._place(token)
        self._values[what, place] = value

    def _place(self, token: int) -> int:
        place = self._places.setdefault(token, len(self._places))
        if place == len(self._tokens):
            self._tokens = np.concatenate([self._tokens, np.empty_like(self._tokens)])
            self._values = np.concatenate([self._values, np.zeros_like(self._values)], axis=1)
        self._tokens[place] = token
        return place


def marks_of(sequence: Sequence, stops: Iterable[int], vocabulary: int) -> Marks | None:
    """The edits of a sequence; None if its logits stay as they are.

    Args:
        sequence: with its sampling.
        stops: tokens that end its answer.
        vocabulary: number of token ids; there is nothing to edit beyond.
    """
    s = sequence.sampling
    wanted = s.repetition_penalty != 1.0 or s.presence_penalty or s.frequency_penalty or s.logit_bias or s.min_tokens
    return Marks(sequence, stops, vocabulary) if wanted else None


@contextmanager
def edited(logits: Tensor, marks: Many[tuple[int, Marks, int]]) -> Iterator[None]:
    """Logits with edits in them, for as long as it lasts.

    Args:
        logits: [n, vocabulary] float32, contiguous; changed, and put back.
        marks: for each row that is edited its index, its edits, and how many tokens its answer has.
    """
    lengths = [len(m.tokens) for _, m, _ in marks]
    rows = np.repeat([row for row, _, _ in marks], lengths)
    places = torch.from_numpy(np.concatenate([m.tokens for _, m, _ in marks]) + rows * logits.shape[1])
    said, seen, bias, banned = _to(logits, np.concatenate([m.values for _, m, _ in marks], axis=1))
    own = [
        (m.sampling.repetition_penalty, m.sampling.presence_penalty, m.sampling.frequency_penalty,
         answered < m.sampling.min_tokens)
        for _, m, answered in marks
    ]  # fmt: skip
    repetition, presence, frequency, early = _to(logits, np.repeat(np.array(own, dtype=np.float32).T, lengths, axis=1))
    flat, places = logits.view(-1), places.to(logits.device)
    before = flat[places]
    after = torch.where(seen > 0, torch.where(before < 0, before * repetition, before / repetition), before)
    after = after - (said > 0) * presence - said * frequency + bias
    flat[places] = after.masked_fill_(banned * early > 0, -torch.inf)
    try:
        yield
    finally:
        flat[places] = before


def _to(logits: Tensor, values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).to(logits.device)
