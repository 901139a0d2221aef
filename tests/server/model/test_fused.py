"""Fused attention layers and norms compute what transformers' own compute."""

import pytest
import torch
from torch import nn
from transformers import Qwen3VLMoeTextConfig, Qwen3VLTextConfig, Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel, Qwen3VLVisionModel
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoeTextModel

from omega_server.model import experts, fused, packed

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 50,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [8, 4, 4],
        "mrope_interleaved": True,
    },
}
EXPERTS = {"moe_intermediate_size": 48, "num_experts": 4, "num_experts_per_tok": 2}


def language_model(kind: str, *, bias: bool = False) -> nn.Module:
    """A small one with random weights, in norms too."""
    torch.manual_seed(0)
    if kind == "dense":
        made: nn.Module = Qwen3VLTextModel(Qwen3VLTextConfig(**SHAPE, attention_bias=bias))
    else:
        made = Qwen3VLMoeTextModel(Qwen3VLMoeTextConfig(**SHAPE, **EXPERTS, attention_bias=bias))
    for weight in made.parameters():
        nn.init.normal_(weight, std=0.2)
    return made.eval()


@pytest.mark.parametrize("tokens", [1, 7, 77])
@pytest.mark.parametrize(("kind", "bias"), [("dense", False), ("dense", True), ("moe", False)])
def test_a_fused_model_equals_transformers(kind, bias, tokens):
    """With positions of a picture, in which time, height and width differ."""
    reference, ours = language_model(kind, bias=bias), language_model(kind, bias=bias)
    fused.use_in(ours)
    packed.use_in(ours)
    experts.use_in(ours)
    assert all(isinstance(layer.self_attn, fused.FusedAttention) for layer in ours.layers)
    assert isinstance(ours.norm, fused.FusedNorm)
    inputs = {"inputs_embeds": torch.randn(1, tokens, 64), "position_ids": torch.randint(0, 99, (3, 1, tokens))}
    with torch.inference_mode():
        expected = reference(**inputs, use_cache=False).last_hidden_state
        computed = ours(**inputs, use_cache=False).last_hidden_state
    torch.testing.assert_close(computed, expected, atol=1e-4, rtol=1e-4)


def test_norms_round_as_transformers_does():
    """In bfloat16 the weight is applied after rounding, bit for bit."""
    theirs = language_model("dense").norm.bfloat16()
    x = torch.randn(5, 64).bfloat16()
    with torch.inference_mode():
        assert torch.equal(fused.FusedNorm(theirs)(x), theirs(x))


def test_attention_is_fused_in_all_layers_or_in_none():
    """A layer whose weights exchange data in hooks keeps its own, and so do the others; fusing twice changes nothing."""
    model = language_model("dense")
    model.layers[1].self_attn.k_proj.register_forward_pre_hook(lambda *_: None)
    before = [layer.self_attn for layer in model.layers]
    fused.use_in(model)
    assert [layer.self_attn for layer in model.layers] == before
    model = language_model("dense")
    fused.use_in(model)
    before = [layer.self_attn for layer in model.layers]
    fused.use_in(model)
    assert [layer.self_attn for layer in model.layers] == before
    assert not isinstance(model.rotary_emb.inner, fused.Turns)


def test_a_fused_tower_equals_transformers():
    """Two pictures of different sizes, in all levels that the language model gets."""
    towers = []
    for _ in range(2):
        torch.manual_seed(0)
        shape = {"hidden_size": 48, "num_heads": 4, "intermediate_size": 64, "out_hidden_size": 64, "depth": 2}
        config = Qwen3VLVisionConfig(**shape, num_position_embeddings=16, deepstack_visual_indexes=[0])
        towers.append(Qwen3VLVisionModel(config).eval())
    fused.use_in_tower(towers[1])
    assert isinstance(towers[1].patch_embed, fused.FusedPatches)
    grid = torch.tensor([[1, 4, 6], [1, 2, 2]])
    pixels = torch.randn(28, 3 * 2 * 16 * 16)
    with torch.inference_mode():
        expected, computed = (tower(pixels, grid_thw=grid, return_dict=True) for tower in towers)
    torch.testing.assert_close(computed.pooler_output, expected.pooler_output, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(computed.deepstack_features, expected.deepstack_features, atol=1e-4, rtol=1e-4)
