"""Linear layers and experts with packed weights compute what transformers' own compute."""

import pytest
import torch
from torch import nn
from transformers import Qwen3VLMoeTextConfig
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoeTextExperts

from omega_server.model import experts, packed

TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 2e-2}


@pytest.fixture(params=TOLERANCE, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Each type that is tested."""
    torch.manual_seed(0)
    return request.param


def routed(dtype: torch.dtype) -> Qwen3VLMoeTextExperts:
    """Eight experts with random weights, as a model has them."""
    config = Qwen3VLMoeTextConfig(hidden_size=64, moe_intermediate_size=48, num_experts=8)
    config._experts_implementation = "eager"
    made = Qwen3VLMoeTextExperts(config)
    for weight in made.parameters():
        nn.init.normal_(weight, std=0.1)
    return made.to(dtype)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(0, 64), (1, 64), (1, 16, 64), (2, 3, 64), (1, 77, 64)])
def test_packed_linear_equals_linear(dtype, shape, bias):
    """For no row, one, and many, of any number of dimensions."""
    model = nn.Sequential(nn.Linear(64, 40, bias=bias, dtype=dtype))
    x = torch.randn(shape).to(dtype)
    with torch.inference_mode():
        expected = model(x)
        packed.use_in(model)
        torch.testing.assert_close(model(x), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    assert isinstance(model[0], packed.PackedLinear if packed.knows(dtype) else nn.Linear)
    assert model[0].weight.shape == (40, 64)


def test_single_precision_is_packed_everywhere():
    """Half precision needs a processor that multiplies it; without one, layers stay as they are."""
    assert packed.knows(torch.float32)
    assert not packed.knows(torch.float64)


def test_few_numbers_of_rows_are_computed_with():
    """However long the steps are, kernels for a few numbers of rows do; and little is computed in vain."""
    counts = range(1, 4097)
    assert all(count <= packed.padded(count) <= count * 1.25 for count in counts)
    assert len({packed.padded(count) for count in counts}) < 50


def test_rows_that_do_not_lie_together(dtype):
    """A view with gaps is multiplied as what it shows."""
    model = nn.Sequential(nn.Linear(64, 40, dtype=dtype))
    x = torch.randn(64, 9).to(dtype).t()
    with torch.inference_mode():
        expected = model(x)
        packed.use_in(model)
        torch.testing.assert_close(model(x), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_a_shared_weight_stays_what_it_is_elsewhere():
    """A head that is tied to the embeddings leaves them as they are."""
    model = nn.ModuleDict({"embeddings": nn.Embedding(40, 64), "head": nn.Linear(64, 40, bias=False)})
    model["head"].weight = model["embeddings"].weight
    packed.use_in(model)
    with torch.inference_mode():
        vector = model["embeddings"](torch.tensor([3]))
        torch.testing.assert_close(model["head"](vector)[0, 3], vector.square().sum())


def test_only_plain_layers_are_packed():
    """Other types of weights, other classes, and layers with hooks stay; packing again changes nothing."""

    class Special(nn.Linear):
        pass

    model = nn.ModuleList([Special(8, 8), nn.Linear(8, 8, dtype=torch.float64), nn.Linear(8, 8), nn.Linear(8, 8)])
    model[2].register_forward_pre_hook(lambda *_: None)
    before = list(model)
    packed.use_in(model)
    assert list(model)[:3] == before[:3]
    once = model[3]
    packed.use_in(model)
    assert model[3] is once
    assert isinstance(once, packed.PackedLinear)


@pytest.mark.parametrize("tokens", [1, 2, 16, 64, 200])
def test_packed_experts_equal_transformers(dtype, tokens):
    """Whether every expert is chosen or few are."""
    reference, ours = routed(dtype), nn.ModuleList([routed(dtype)])
    ours[0].load_state_dict(reference.state_dict())
    experts.use_in(ours)
    assert bool(list(ours.parameters())) != packed.knows(dtype)
    hidden = torch.randn(tokens, 64).to(dtype)
    weights, chosen = torch.rand(tokens, 8).softmax(-1).topk(2)
    chosen = chosen if tokens > 2 else torch.full_like(chosen, 5)
    with torch.inference_mode():
        expected = reference(hidden, chosen, weights.to(dtype))
        computed = ours[0](hidden, chosen, weights.to(dtype))
    assert computed.dtype == dtype
    torch.testing.assert_close(computed, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_only_plain_experts_are_packed():
    """Experts whose weights are quantized or sharded keep their own function, and so does who shares their configuration."""
    plain, sharded, quantized = (routed(torch.float32) for _ in range(3))
    sharded._is_expert_parallel = True
    quantized.down_proj = nn.Parameter(quantized.down_proj.to(torch.int8), requires_grad=False)
    sharded.config = quantized.config = plain.config
    experts.use_in(nn.ModuleList([plain, sharded, quantized]))
    assert plain.config._experts_implementation == experts.NAME
    assert sharded.config._experts_implementation == quantized.config._experts_implementation == "eager"
    assert sharded.gate_up_proj.is_floating_point()
