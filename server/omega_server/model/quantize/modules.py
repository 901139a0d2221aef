"""Linear layers and fused experts with quantized weights."""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.integrations.moe import ExpertsInterface

from omega_server.model.quantize.formats import Format

EXPERTS = "omega_quantized"
"""Name of `experts_forward` in transformers' ExpertsInterface."""

SCALE = "_scale"
"""A weight's scale is its module's attribute of this name, after the weight's own name."""


class QuantizedLinear(nn.Module):
    """nn.Linear with a weight in another format. The bias stays as it is.

    The weight is a stand-in of the original's shape until it is loaded.
    """

    def __init__(self, linear: nn.Linear, form: Format) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.form = form
        self.weight = linear.weight
        self.bias = linear.bias
        add_scale(self, "weight", form)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        y = self.form.linear(x.reshape(-1, self.in_features), self.weight, cast("Tensor", self.weight_scale))
        y = y.view(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """As nn.Linear, with the format."""
        return f"in_features={self.in_features}, out_features={self.out_features}, {self.form}"


def add_scale(module: nn.Module, weight: str, form: Format) -> None:
    """Give a module room for the scale of one of its weights."""
    stand_in = module.get_parameter(weight)
    scale = torch.empty(form.scale_shape(stand_in.shape), dtype=stand_in.dtype, device=stand_in.device)
    module.register_buffer(weight + SCALE, scale)


def convert_experts(experts: Any, gate_up: Format, down: Format) -> None:
    """Let fused experts compute with weights in other formats from now on."""
    ExpertsInterface.register(EXPERTS, experts_forward)
    add_scale(experts, "gate_up_proj", gate_up)
    add_scale(experts, "down_proj", down)
    experts.gate_up_form, experts.down_form = gate_up, down
    # A configuration of their own: whoever chooses another function for the model's experts means plain weights.
    experts.config = copy.copy(experts.config)
    experts.config._experts_implementation = EXPERTS


def experts_forward(experts: Any, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """The experts function for quantized weights.

    Args:
        experts: a module that `convert_experts` changed.
        hidden: [tokens, hidden size].
        chosen: [tokens, k] int64, the experts of each token.
        weights: [tokens, k], how much each counts.

    Returns:
        [tokens, hidden size].
    """
    compute = _each_alone if _needs_no_host(experts, chosen) else _expert_by_expert
    computed = compute(experts, hidden, chosen)
    return (computed * weights[..., None]).sum(dim=1).to(hidden.dtype)


def _needs_no_host(experts: Any, chosen: Tensor) -> bool:
    """Whether so few weights are chosen on a GPU that it may read one for each choice, and need not wait."""
    return chosen.device.type == "cuda" and chosen.numel() <= len(experts.gate_up_proj)


def _expert_by_expert(experts: Any, hidden: Tensor, chosen: Tensor) -> Tensor:
    """[tokens, k, hidden size] of the chosen experts; each expert takes all of its tokens at once.

    Only weights of chosen experts are touched. The host has to know how many tokens each has: on CUDA it waits.
    """
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    x = hidden[order // chosen.shape[1]]
    y = torch.empty_like(x)
    start = 0
    for expert, count in enumerate(torch.bincount(flat, minlength=len(experts.gate_up_proj)).tolist()):
        if count:
            here = slice(start, start := start + count)
            inner = experts.gate_up_form.linear(
                x[here], experts.gate_up_proj[expert], experts.gate_up_proj_scale[expert]
            )
            y[here] = experts.down_form.linear(
                experts._apply_gate(inner), experts.down_proj[expert], experts.down_proj_scale[expert]
            )
    return torch.empty_like(y).index_copy_(0, order, y).view(*chosen.shape, -1)


def _each_alone(experts: Any, hidden: Tensor, chosen: Tensor) -> Tensor:
    """[tokens, k, hidden size] of the chosen experts, without the host: for a few tokens on CUDA."""
    flat = chosen.flatten()
    x = hidden.repeat_interleave(chosen.shape[1], dim=0)[..., None]
    gate_up = experts.gate_up_form.dequantize(experts.gate_up_proj[flat], experts.gate_up_proj_scale[flat])
    inner = experts._apply_gate(torch.bmm(gate_up, x)[..., 0])
    down = experts.down_form.dequantize(experts.down_proj[flat], experts.down_proj_scale[flat])
    return torch.bmm(down, inner[..., None]).view(*chosen.shape, -1)
