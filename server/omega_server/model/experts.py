"""The routed experts of a mixture, on the CPU: transformers' experts function for packed weights.

A decode step has few tokens for each expert. Then what counts is to read only the experts that were chosen, each once,
and to call torch as seldom as possible. On a GPU, transformers' own "grouped_mm" does so in one kernel, and stays.
"""

import copy
from typing import Any

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
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    counts = torch.bincount(flat, minlength=len(experts.packed_down)).tolist()
    inner = _each(experts.packed_gate_up, hidden.index_select(0, order // chosen.shape[1]), counts)
    outer = _each(experts.packed_down, experts._apply_gate(inner), counts)
    computed = torch.empty_like(outer).index_copy_(0, order, outer).view(*chosen.shape, -1)
    return (computed * weights[..., None]).sum(dim=1).to(hidden.dtype)


def _each(packed_weights: list[Tensor], rows: Tensor, counts: list[int]) -> Tensor:
    """Rows, sorted by expert, each times its expert's weight; the first `counts[0]` rows are the first expert's."""
    parts = rows.split(counts)
    return torch.cat([packed.multiply(x, w) for x, w in zip(parts, packed_weights, strict=True) if len(x)])
