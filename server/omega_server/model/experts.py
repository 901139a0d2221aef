"""The routed experts of a mixture, on the CPU: transformers' experts function for packed weights.

A decode step has few tokens for each expert. Then what counts is to read only the experts that were chosen, each once,
and to call torch as seldom as possible. On a GPU, transformers' own "grouped_mm" does so in one kernel, and stays.
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.integrations.moe import ExpertsInterface

from omega_server.model import packed

NAME = "omega_packed"
"""Of `experts_forward` in transformers' ExpertsInterface."""


def use_in(model: nn.Module) -> None:
    """Pack a model's experts where that is possible. One layer's weights at a time are in memory twice."""
    ExpertsInterface.register(NAME, experts_forward)
    for module in model.modules():
        weights = [getattr(module, name, None) for name in ("gate_up_proj", "down_proj")]
        if all(isinstance(w, Tensor) and w.dim() == 3 for w in weights) and packed.can_pack(module, *weights):
            _pack(module)


def _pack(experts: Any) -> None:
    if experts.is_transposed or experts.has_bias or experts.has_post_expert_norm or experts._is_expert_parallel:
        return
    experts.packed_gate_up = [packed.pack(weight) for weight in experts.gate_up_proj]
    experts.packed_down = [packed.pack(weight) for weight in experts.down_proj]
    del experts.gate_up_proj, experts.down_proj
    # A configuration of their own: other modules of the model may have experts that cannot be packed.
    experts.config = copy.copy(experts.config)
    experts.config._experts_implementation = NAME


def experts_forward(experts: Any, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """The experts function for packed weights.

    Args:
        experts: a module that `use_in` packed.
        hidden: [tokens, hidden size].
        chosen: [tokens, k] int64, the experts of each token.
        weights: [tokens, k], how much each counts.

    Returns:
        [tokens, hidden size].
    """
    layout = _Layout(chosen.numpy(), len(experts.packed_down))
    inner = layout.each(experts.packed_gate_up, hidden.index_select(0, layout.tokens))
    outer = layout.each(experts.packed_down, experts._apply_gate(inner))
    computed = outer.index_select(0, layout.places).view(*chosen.shape, -1)
    return (computed * weights[..., None]).sum(dim=1).to(hidden.dtype)


class _Layout:
    """Rows sorted by expert, as many for each as are computed with at once: what is missing is filled up with some row.

    Laid out by numpy, which is done with a few numbers before torch has begun.

    Attributes:
        tokens: [rows] int64, whose hidden state each row is.
        places: [tokens * k] int64, the row of each choice, token after token.
    """

    def __init__(self, chosen: np.ndarray, experts: int) -> None:
        flat = chosen.ravel()
        order = flat.argsort(kind="stable")
        counts = np.bincount(flat, minlength=experts)
        self._sizes = [packed.padded(count) for count in counts.tolist()]
        sizes = np.array(self._sizes)
        gaps = np.cumsum(sizes - counts) - (sizes - counts)
        rows = np.arange(len(flat)) + gaps.repeat(counts)
        tokens = np.zeros(sizes.sum(), dtype=np.int64)
        tokens[rows] = order // chosen.shape[1]
        places = np.empty_like(rows)
        places[order] = rows
        self.tokens = torch.from_numpy(tokens)
        self.places = torch.from_numpy(places)

    def each(self, weights: list[Tensor], rows: Tensor) -> Tensor:
        """All rows, each times its expert's weight."""
        parts = rows.split(self._sizes)
        return torch.cat([packed.product(x, w) for x, w in zip(parts, weights, strict=True) if len(x)])
