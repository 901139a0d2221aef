"""On the CPU: oneDNN's kernels, compiled before the first request.

oneDNN compiles a kernel for each shape of a weight and each number of rows, at their first product, and keeps it: a
millisecond and half a megabyte each. Numbers of rows that are rare would come late, and make memory look as if it leaked.
"""

import time
from typing import Any

import torch
from torch import Tensor, nn

from omega_server.model import packed

SECONDS = 1.0
"""The longest that it may take. Where the products of many rows take so long, a millisecond more is not noticed later."""


def compile_ahead(model: nn.Module, rows: int) -> None:
    """Multiply each kind of packed weight of a model with each number of rows, up to so many, few rows first."""
    kinds = {(weight.shape, bias is not None): (weight, bias) for weight, bias in _packed(model)}
    end = time.monotonic() + SECONDS
    with torch.inference_mode():
        for count in sorted({packed.padded(n) for n in range(1, rows + 1)}):
            for weight, bias in kinds.values():
                packed.multiply(torch.zeros(count, weight.shape[1], dtype=weight.dtype), weight, bias)
            if time.monotonic() > end:
                return


def _packed(model: nn.Module) -> list[tuple[Tensor, Tensor | None]]:
    found: list[tuple[Tensor, Tensor | None]] = []
    for module in model.modules():
        if isinstance(module, packed.PackedLinear):
            found.append((module.weight, module.bias))
        experts: Any = module
        for name in ("packed_gate_up", "packed_down"):
            found += [(weight, None) for weight in getattr(experts, name, ())[:1]]
    return found
