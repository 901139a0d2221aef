"""How a matrix of weights is stored in few bits, and multiplied with. Pure functions of tensors, on every device.

A weight is [N, K]: N outputs, K inputs; K runs along the rows, as in nn.Linear. Fused experts are [E, N, K], one
matrix for each expert. What is kept of it are two tensors, its `values` and their `scale`, with the same leading
dimensions.

torch has kernels that multiply with such weights directly. They are used where they are both right and fast, which is
on CPUs that compute in bfloat16; docs/adr/0012 has what was measured. Elsewhere the values become numbers of the
model's dtype for the moment of a multiplication.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

_KERNEL_ROWS = 8
"""Up to here torch's int8 kernel, which takes rows one by one, is faster than a matrix product."""

_WIDEST_GROUP = 64
_NARROWEST_GROUP = 16
"""Inputs that share an int4 scale. With fewer the scales would weigh more than what they are for."""

_KERNEL_GROUP = 32
"""The narrowest group that torch's int4 kernel takes."""


class QuantizationError(ValueError):
    """A weight cannot be converted. The message is one line and says what to do."""


class Format(Protocol):
    """One way to store weights."""

    def scale_shape(self, shape: torch.Size) -> tuple[int, ...]:
        """Of the scale of weights of this shape, [..., N, K]."""

    def quantize(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(values, scale) of a weight [N, K]; the scale is of the weight's dtype."""

    def dequantize(self, values: Tensor, scale: Tensor) -> Tensor:
        """The weights [..., N, K] that the values stand for, in the scale's dtype."""

    def linear(self, x: Tensor, values: Tensor, scale: Tensor) -> Tensor:
        """[rows, N] product of x [rows, K] with the one weight that is stored."""


@dataclass(frozen=True)
class Int8:
    """One byte for each weight, from -127 to 127, and one scale for each output: values [N, K] int8, scale [N]."""

    def scale_shape(self, shape: torch.Size) -> tuple[int, ...]:
        """One for each output."""
        return tuple(shape[:-1])

    def quantize(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The largest weight of each output becomes 127 or -127."""
        numbers = weight.float()
        scale = (numbers.abs().amax(-1) / 127).to(weight.dtype)
        return (numbers / _divisor(scale)).round_().clamp_(-127, 127).to(torch.int8), scale

    def dequantize(self, values: Tensor, scale: Tensor) -> Tensor:
        """Values times scale."""
        return values.to(scale.dtype) * scale[..., None]

    def linear(self, x: Tensor, values: Tensor, scale: Tensor) -> Tensor:
        """By torch's kernel for a few rows on a CPU, else by a matrix product, scaled afterwards."""
        if len(x) <= _KERNEL_ROWS and _has_kernel(x.dtype, x.device) and not values.shape[-1] % 16:
            return torch._weight_int8pack_mm(x.contiguous(), values, scale)
        if x.dtype == torch.float16:
            return functional.linear(x, self.dequantize(values, scale))  # unscaled sums could pass float16's largest
        return functional.linear(x, values.to(x.dtype)) * scale


@dataclass(frozen=True)
class Int4:
    """Half a byte for each weight, from 0 to 15, with a scale and a middle for each group along the inputs.

    values [N, K / 2] uint8: two neighbours in a byte, the first in the lower half. scale [K / group, N, 2]: the step
    between two values, and the weight that the value 8 stands for.

    Attributes:
        group: inputs that share a scale.
        tiled: values lie as torch's kernel for CPUs wants them, in an order of its own that depends on the
            processor; still [N, K / 2] uint8.
    """

    group: int
    tiled: bool = False

    def scale_shape(self, shape: torch.Size) -> tuple[int, ...]:
        """Two for each group of each output."""
        *experts, outputs, inputs = shape
        return (*experts, inputs // self.group, outputs, 2)

    def quantize(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest weight of each group becomes 0, the largest 15."""
        groups = weight.float().unflatten(-1, (-1, self.group))
        low, high = groups.aminmax(dim=-1)
        step = ((high - low) / 15).to(weight.dtype)
        middle = (low + 8 * step.float()).to(weight.dtype)
        values = (groups - middle.float()[..., None]).div_(_divisor(step)).add_(8).round_().clamp_(0, 15)
        scale = torch.stack([step.T, middle.T], dim=-1)
        if self.tiled:
            return torch.ops.aten._convert_weight_to_int4pack_for_cpu(values.flatten(-2).int(), 2), scale
        pairs = values.flatten(-2).to(torch.uint8).unflatten(-1, (-1, 2))
        return pairs[..., 0] | pairs[..., 1] << 4, scale

    def dequantize(self, values: Tensor, scale: Tensor) -> Tensor:
        """(Value - 8) times step, plus middle."""
        assert not self.tiled, "only torch's kernel knows the order of tiled values"
        step, middle = scale.transpose(-3, -2).unbind(-1)
        pairs = torch.empty(*values.shape, 2, dtype=scale.dtype, device=values.device)
        pairs[..., 0] = values & 15
        pairs[..., 1] = values >> 4
        groups = pairs.view(*step.shape, self.group)
        return groups.mul_(step[..., None]).add_((middle - 8 * step)[..., None]).flatten(-2)

    def linear(self, x: Tensor, values: Tensor, scale: Tensor) -> Tensor:
        """By torch's kernel if the values are tiled, else by a matrix product."""
        if self.tiled:
            return torch.ops.aten._weight_int4pack_mm_for_cpu(x.contiguous(), values, self.group, scale)
        return functional.linear(x, self.dequantize(values, scale))


def choose(method: str, name: str, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Format:
    """The format of a weight.

    Args:
        method: int8 or int4.
        name: of the weight, for messages.
        shape: [..., N, K].
        dtype: what the model computes in.
        device: where.

    Raises:
        QuantizationError: no format of this method takes a weight of this shape.
    """
    if method == "int8":
        return Int8()
    outputs, inputs = shape[-2:]
    group = min(inputs & -inputs, _WIDEST_GROUP)  # the largest power of two that divides it
    if group < _NARROWEST_GROUP:
        raise QuantizationError(
            f"int4 needs weights whose inputs come in groups of {_NARROWEST_GROUP}, and {name} has {inputs} inputs: "
            "use int8 or none"
        )
    return Int4(group, tiled=_has_kernel(dtype, device) and group >= _KERNEL_GROUP and not outputs % 16)


def _has_kernel(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether torch's kernels are fast here; in float32 they are many times slower than a matrix product."""
    return device.type == "cpu" and dtype == torch.bfloat16


def _divisor(step: Tensor) -> Tensor:
    """Steps [..., 1] to divide by. Equal weights have the step 0, and all become the value that stands for them."""
    return torch.where(step > 0, step, 1).float()[..., None]
