"""Answers of a given form: which tokens may come next, by something that follows the answer token by token.

An engine knows no grammars. What it asks of one is in `Grammar`, which is the shape of the matchers that structured
output is made with.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Many
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Grammar(Protocol):
    """The form of one answer, as far as it has got."""

    def allowed(self) -> np.ndarray:
        """[ceil(vocabulary / 32) or more] int32: bit t % 32 of word t // 32 is 1 if token t may come next.

        End tokens are allowed where the answer may end. Asking changes nothing. If no token is allowed, the answer
        cannot go on, and fails.
        """

    def accept(self, token: int) -> None:
        """A token, which was allowed, was appended to the answer."""


def bits(tokens: Iterable[int]) -> np.ndarray:
    """[as many as it needs] int32: the bits of some tokens, in the order of `Grammar.allowed`."""
    chosen = list(tokens)
    flags = np.zeros((max(chosen, default=0) // 32 + 1) * 32, dtype=bool)
    flags[chosen] = True
    return np.packbits(flags, bitorder="little").view(np.int32)


def unless_only(allowed: np.ndarray, unwanted: np.ndarray) -> np.ndarray:
    """What is allowed without what is unwanted; all of it, if nothing else is allowed."""
    width = min(len(allowed), len(unwanted))
    rest = allowed.copy()
    rest[:width] &= ~unwanted[:width]
    return rest if rest.any() else allowed


@contextmanager
def masked(logits: Tensor, masks: Many[tuple[int, np.ndarray]]) -> Iterator[None]:
    """Logits of minus infinity for the tokens that may not come, for as long as it lasts.

    Args:
        logits: [n, vocabulary] float32; changed, and put back.
        masks: what is allowed in a row, and the row of each.
    """
    rows = torch.tensor([row for row, _ in masks], device=logits.device)
    words = torch.from_numpy(np.stack([allowed for _, allowed in masks])).to(logits.device)
    flags = words[:, :, None] >> torch.arange(32, dtype=torch.int32, device=logits.device) & 1
    before = logits[rows]
    logits[rows] = before.masked_fill(flags.flatten(1)[:, : logits.shape[1]] == 0, -torch.inf)
    try:
        yield
    finally:
        logits[rows] = before
