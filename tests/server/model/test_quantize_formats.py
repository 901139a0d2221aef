"""Weights in few bits: how far they are from the originals, and that every way to multiply with them is the same."""

import pytest
import torch

from omega_server.model.quantize.formats import Int4, Int8, QuantizationError, choose

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FORMATS = (Int8(), Int4(16), Int4(64))


def weight(outputs, inputs, dtype, seed=0):
    """Random numbers, outputs of very different size, one of them all zero and one constant and small."""
    numbers = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))
    numbers *= torch.logspace(-3, 1, outputs)[:, None]
    numbers[0], numbers[1] = 0, 0.001
    return numbers.to(dtype)


def rows(count, inputs, dtype):
    """So many inputs."""
    return torch.randn(count, inputs, generator=torch.Generator().manual_seed(1)).to(dtype)


def distance(a, b):
    """Of two tensors, as a share of the second."""
    return ((a.float() - b.float()).norm() / b.float().norm()).item()


@pytest.mark.parametrize("dtype", DTYPES)
def test_int8_is_half_a_step_from_the_original_at_most(dtype):
    """The step is a 127th of an output's largest weight, and zero stays zero."""
    original = weight(48, 192, dtype)
    values, scale = Int8().quantize(original)
    assert (values.dtype, scale.dtype) == (torch.int8, dtype)
    assert values.shape == original.shape
    assert scale.shape == Int8().scale_shape(original.shape)
    stored = values.float() * scale.float()[:, None]
    step = original.float().abs().amax(1, keepdim=True) / 127
    slack = 127 * torch.finfo(dtype).eps  # of the scale's own rounding, in steps, at the largest weight
    assert ((stored - original.float()).abs() <= step * (0.5 + slack)).all()
    assert not stored[0].any()
    assert torch.equal(Int8().dequantize(values, scale).float(), stored.to(dtype).float())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group", [16, 32, 64])
def test_int4_is_half_a_step_from_the_original_at_most(dtype, group):
    """The step is a 15th of what lies between a group's smallest and largest weight; two values share a byte."""
    original = weight(48, 192, dtype)
    form = Int4(group)
    values, scale = form.quantize(original)
    assert (values.dtype, scale.dtype) == (torch.uint8, dtype)
    assert values.shape == (48, 96)
    assert scale.shape == form.scale_shape(original.shape)
    groups = original.float().unflatten(1, (-1, group))
    step = (groups.amax(2, keepdim=True) - groups.amin(2, keepdim=True)) / 15
    stored = form.dequantize(values, scale).float().view(groups.shape)
    slack = 8 * torch.finfo(dtype).eps * groups.abs().amax(2, keepdim=True)
    assert ((stored - groups).abs() <= step / 2 + slack).all()
    assert not stored[0].any()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 8, 9, 40])
def test_a_product_is_that_with_the_stored_weights(form, dtype, count):
    """Whichever way is taken for so many rows in this dtype."""
    values, scale = form.quantize(weight(48, 192, dtype))
    x = rows(count, 192, dtype)
    expected = x.float() @ form.dequantize(values, scale).float().T
    assert distance(form.linear(x, values, scale), expected) < 4 * torch.finfo(dtype).eps


@pytest.mark.parametrize("count", [1, 8, 9, 40])
@pytest.mark.parametrize("group", [32, 64])
def test_the_kernel_for_int4_multiplies_with_the_same_values(group, count):
    """In the order that torch wants them, they are still those of the plain format."""
    original, x = weight(48, 192, torch.bfloat16), rows(count, 192, torch.bfloat16)
    tiled, plain = Int4(group, tiled=True), Int4(group)
    values, scale = tiled.quantize(original)
    assert values.shape == plain.quantize(original)[0].shape
    assert torch.equal(scale, plain.quantize(original)[1])
    expected = x.float() @ plain.dequantize(*plain.quantize(original)).float().T
    assert distance(tiled.linear(x, values, scale), expected) < 0.01


def test_int8_of_a_width_that_the_kernel_cannot_read():
    """Torch's kernel reads sixteen inputs at a time, past the end of others; those take the other way."""
    values, scale = Int8().quantize(weight(16, 40, torch.bfloat16))
    x = rows(2, 40, torch.bfloat16)
    expected = x.float() @ Int8().dequantize(values, scale).float().T
    assert distance(Int8().linear(x, values, scale), expected) < 0.02


def test_float16_does_not_overflow():
    """A sum of unscaled values would be larger than the largest float16."""
    original = torch.full((16, 2048), 0.01, dtype=torch.float16)
    values, scale = Int8().quantize(original)
    y = Int8().linear(torch.ones(1, 2048, dtype=torch.float16), values, scale)
    assert distance(y, torch.full((1, 16), 20.48)) < 0.01


@pytest.mark.parametrize(
    ("shape", "group"),
    [((64, 128), 64), ((64, 160), 32), ((8, 64, 2048), 64), ((64, 48), 16), ((64, 3 * 64), 64), ((64, 352), 32)],
)
def test_a_group_is_the_largest_power_of_two_that_divides(shape, group):
    """Up to 64."""
    assert choose("int4", "w", torch.Size(shape), torch.float32, CPU) == Int4(group)


@pytest.mark.parametrize("inputs", [8, 100, 3 * 8, 127])
def test_what_int4_cannot_take_is_refused_by_name(inputs):
    """The weight is named, its width, and the way out; int8 takes it."""
    shape = torch.Size((64, inputs))
    with pytest.raises(QuantizationError, match=rf"and layer\.weight has {inputs} inputs: use int8 or none"):
        choose("int4", "layer.weight", shape, torch.float32, CPU)
    assert choose("int8", "layer.weight", shape, torch.float32, CPU) == Int8()


def test_the_kernel_for_int4_is_chosen_where_it_is_fast_and_takes_the_shape():
    """On a CPU in bfloat16, with groups of 32 at least and 16 dividing the outputs."""
    chosen = {
        (*shape, dtype, device): choose("int4", "w", torch.Size(shape), dtype, torch.device(device)).tiled
        for shape in ((64, 128), (8, 64, 160), (64, 48), (40, 128))
        for dtype in (torch.bfloat16, torch.float32)
        for device in ("cpu", "cuda")
    }
    assert {key for key, tiled in chosen.items() if tiled} == {
        (64, 128, torch.bfloat16, "cpu"),
        (8, 64, 160, torch.bfloat16, "cpu"),
    }
