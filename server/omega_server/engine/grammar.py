"""Answers of a given form: which tokens may come next, by something that follows the answer token by token.

An engine knows no grammars. What it asks of one is in `Grammar`, which is the shape of the matchers that structured
output is made with.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Many
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Grammar(Protocol):
    """The form of one answer, as far as it has got."""

    def allowed(self) -> np.ndarray:
        """[ceil(vocabulary / 32)] int32: bit t % 32 of word t // 32 is 1 if token t may come next.

        End tokens are allowed where the answer may end. At least one token is allowed. Asking changes nothing.
        """

    def accept(self, token: int) -> None:
        """A token, which was allowed, was appended to the answer."""


@contextmanager
def masked(logits: Tensor, grammars: Many[tuple[int, Grammar]]) -> Iterator[None]:
    """Logits of minus infinity for the tokens that may not come, for as long as it lasts.

    Args:
        logits: [n, vocabulary] float32; changed, and put back.
        grammars: with the row of each.
    """
    rows = torch.tensor([row for row, _ in grammars], device=logits.device)
    words = torch.from_numpy(np.stack([grammar.allowed() for _, grammar in grammars])).to(logits.device)
    bits = words[:, :, None] >> torch.arange(32, dtype=torch.int32, device=logits.device) & 1
    before = logits[rows]
    logits[rows] = before.masked_fill(bits.flatten(1)[:, : logits.shape[1]] == 0, -torch.inf)
    try:
        yield
    finally:
        logits[rows] = before
