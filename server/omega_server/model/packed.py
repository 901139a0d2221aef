"""On the CPU: linear layers whose weights lie as oneDNN wants to read them.

torch multiplies a few rows, as a decode step has them, with a plain matrix at half of what the machine can do: MKL, or
oneDNN, copies the matrix into its own order first, each time. Packed once, it is only read. These are the operators that
torch's own compiler uses for frozen weights.

oneDNN compiles a kernel for each number of rows that it meets, half a megabyte of them, and frees none. So rows of zeros
fill up what has few.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

_SUPPORTED: dict[torch.dtype, Callable[[], bool]] = {
    torch.float32: lambda: True,
    torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
    torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
}


class PackedLinear(nn.Module):
    """nn.Linear with a packed weight."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.weight = pack(weight)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        return multiply(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """As nn.Linear."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def pack(weight: Tensor) -> Tensor:
    """A weight [out_features, in_features] in oneDNN's order: an opaque tensor of the same shape, for `multiply` only."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())
    return packed


def multiply(x: Tensor, packed: Tensor, bias: Tensor | None = None) -> Tensor:
    """[..., in_features] times a packed weight, plus the bias: [..., out_features]."""
    rows = x.reshape(-1, x.shape[-1])
    count = len(rows)
    missing = padded(count) - count
    filled = pad(rows, (0, 0, 0, missing)) if missing else rows
    result = product(filled, packed, bias)
    return result[:count].view(*x.shape[:-1], result.shape[-1])


def product(rows: Tensor, packed: Tensor, bias: Tensor | None = None) -> Tensor:
    """[n, in_features] times a packed weight, plus the bias: [n, out_features]. `n` is `padded` already."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return result


def padded(rows: int) -> int:
    """The next number of rows that is computed with: four of them between any two powers of two, so a fifth is zeros at most."""
    step = 1 << max(0, (rows - 1).bit_length() - 3)
    return -(-rows // step) * step


def can_pack(module: nn.Module, *weights: Any) -> bool:
    """Whether weights of a module can be packed: plain ones on the CPU, in a type that its kernels know.

    Neither quantized ones, nor the shards of tensor parallelism, whose modules exchange data in hooks.
    """
    return (
        torch.backends.mkldnn.is_available()
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and all(
            type(weight) is nn.Parameter and weight.device.type == "cpu" and knows(weight.dtype) for weight in weights
        )
    )


def knows(dtype: torch.dtype) -> bool:
    """Whether this processor has kernels for packed weights of a type; those of bfloat16 need AVX-512 or better."""
    return dtype in _SUPPORTED and _SUPPORTED[dtype]()


def use_in(model: nn.Module) -> None:
    """Replace a model's linear layers where that is possible. One weight at a time is in memory twice.

    A head that shares its weight with the embeddings gets a packed copy of its own.
    """
    for path, module in list(model.named_modules()):
        if type(module) is nn.Linear and can_pack(module, module.weight):
            model.set_submodule(path, PackedLinear(module.weight, module.bias))
