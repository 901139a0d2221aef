"""A model that is quantized while it is loaded: what is converted, what stays, and that it computes what it holds."""

import copy
import json
import logging
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

from omega_server.model.checkpoint import ModelError
from omega_server.model.convert import convert
from omega_server.model.loader import load
from omega_server.model.quantize import Quantization
from omega_server.model.quantize.loading import Quantizer
from omega_server.model.quantize.modules import QuantizedLinear, experts_forward

ROOT = Path(__file__).parents[3]
DENSE, MOE = ROOT / "demo" / "model", ROOT / "demo" / "model-moe"
FORK = ROOT / "tests" / "oracle" / "checkpoints" / "omega17_vl_exp"
IDS = torch.arange(10, 60)[None]

# Qwen3-VL-30B-A3B, as its config.json has it.
REAL = {
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "vocab_size": 151936,
}


@cache
def loaded(path, dtype="float32", method="none"):
    """A model that several tests look at, and none may change."""
    return load(str(path), dtype, "cpu", method)


def nbytes(model):
    """Of all that a model holds."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def logits(model, ids=IDS):
    """What a model answers to some tokens."""
    with torch.inference_mode():
        return model(input_ids=ids).logits.float()


def distance(a, b):
    """Of two tensors, as a share of the second."""
    return ((a - b).norm() / b.norm()).item()


def plain(path, quantized):
    """The model at a path, unconverted, with the very weights that a quantized one stands for."""
    model = copy.deepcopy(loaded(path))
    for name, form in quantized.hf_quantizer.forms.items():
        scale = quantized.get_buffer(name + "_scale")
        model.get_parameter(name).data = form.dequantize(quantized.get_parameter(name), scale)
    return model


@pytest.mark.parametrize("path", [DENSE, MOE], ids=lambda path: path.name)
@pytest.mark.parametrize("method", ["int8", "int4"])
def test_what_is_converted_and_what_stays(path, method):
    """All linear layers and experts of the language model's layers; every other tensor is as it was, bit by bit."""
    model, original = loaded(path, method=method), loaded(path)
    layers = model.model.language_model.layers
    assert not any(isinstance(module, nn.Linear) for module in layers.modules())
    converted = set(model.hf_quantizer.forms)
    expected = {
        name
        for name, weight in original.named_parameters()
        if name.startswith("model.language_model.layers.") and weight.dim() > 1 and ".mlp.gate." not in name
    }
    assert converted == expected
    dtypes = {model.get_parameter(name).dtype for name in converted}
    assert dtypes == {torch.int8 if method == "int8" else torch.uint8}
    kept = {name: weight for name, weight in original.named_parameters() if name not in converted}
    assert any("visual" in name for name in kept)
    for name, weight in kept.items():
        assert torch.equal(model.get_parameter(name), weight), name
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


@pytest.mark.parametrize("path", [DENSE, MOE], ids=lambda path: path.name)
@pytest.mark.parametrize("method", ["int8", "int4"])
def test_it_computes_with_the_weights_that_it_holds(path, method):
    """Its answers are those of the plain model with the same rounded weights, and near those of the original."""
    model, original = loaded(path, method=method), loaded(path)
    assert distance(logits(model), logits(plain(path, model))) < 1e-5
    assert 1e-5 < distance(logits(model), logits(original)) < {"int8": 0.05, "int4": 0.2}[method]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("method", ["int8", "int4"])
@pytest.mark.parametrize("ids", [IDS, IDS[:, :3]], ids=["many", "few"])
def test_the_other_dtypes(dtype, method, ids):
    """Also by torch's kernels for few rows, the answers are about as near the original as rounded weights in float32."""
    model, rounded, original = loaded(MOE, dtype, method), loaded(MOE, method=method), loaded(MOE)
    rounding = distance(logits(rounded, ids), logits(original, ids))
    assert distance(logits(model, ids), logits(original, ids)) < 0.05 + 1.5 * rounding


@pytest.mark.parametrize("method", ["int8", "int4"])
def test_the_share_is_what_the_model_really_holds(method, caplog):
    """The log at the start says how much was converted and what that saves; the bytes are those of the tensors."""
    with caplog.at_level(logging.INFO):
        model = load(str(MOE), "float32", "cpu", method)
    share = model.hf_quantizer.share
    original = loaded(MOE)
    assert share.after == nbytes(model)
    assert share.before == nbytes(original)
    assert share.layers == nbytes(original.model.language_model.layers)
    assert share.language_model == share.before - nbytes(original.model.visual)
    assert share.converted == sum(original.get_parameter(name).nbytes for name in model.hf_quantizer.forms)
    assert share.converted / share.layers > 0.99
    assert f"{method}: 99.7% of the bytes in the language model's layers are converted" in caplog.text
    assert f"take {share.after / 2**20:.1f} MiB instead of {share.before / 2**20:.1f} MiB" in caplog.text


@pytest.mark.parametrize("method", ["int8", "int4"])
def test_the_checkpoint_does_not_stay_in_memory(tmp_path, method):
    """Nothing of the model lies in the mapped file any more, which would keep the unconverted weights there."""
    shutil.copytree(MOE, tmp_path / "model")
    model = load(str(tmp_path / "model"), "bfloat16", "cpu", method)
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert model.model.visual.dtype == torch.bfloat16


@pytest.mark.parametrize("method", ["int8", "int4"])
def test_of_a_real_model_nearly_everything_is_converted(method):
    """Of Qwen3-VL-30B-A3B 97 % of all bytes but the vision tower's, with embeddings and head, which stay."""
    config = Qwen3VLMoeConfig(text_config=REAL, tie_word_embeddings=False)
    with torch.device("meta"):
        model = Qwen3VLMoeForConditionalGeneration(config)
    everything = nbytes(model) - nbytes(model.model.visual)
    quantizer = Quantizer(Quantization(method, "cpu"), pre_quantized=False)
    quantizer.preprocess_model(model)
    converted = sum(model.get_parameter(name).nbytes for name in quantizer.forms)
    assert 0.97 < converted / everything < 1


def experts_of(method):
    """The experts of the first layer, and random tokens for them: inputs, chosen experts, their weights."""
    model = loaded(MOE, method=method)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(20, 128, generator=generator)
    chosen = torch.stack([torch.randperm(3, generator=generator)[:2] for _ in range(20)])  # nobody chooses the last
    weights = torch.rand(20, 2, generator=generator)
    return model, model.model.language_model.layers[0].mlp.experts, (hidden, chosen, weights)


@pytest.mark.parametrize("method", ["int8", "int4"])
def test_experts_are_those_of_transformers(method):
    """With the same rounded weights, the experts give what transformers' own functions give."""
    model, experts, inputs = experts_of(method)
    reference = plain(MOE, model)
    for implementation in ("eager", "grouped_mm"):
        reference.set_experts_implementation(implementation)
        expected = reference.model.language_model.layers[0].mlp.experts(*inputs)
        assert distance(experts(*inputs), expected) < 1e-5


@pytest.mark.parametrize("method", ["int8", "int4"])
def test_few_tokens_on_cuda_take_a_way_of_their_own_to_the_same(method, monkeypatch):
    """The way that needs no count on the host computes what the other does."""
    _, experts, (hidden, chosen, weights) = experts_of(method)
    few = (hidden[:2], chosen[:2], weights[:2])
    expected = experts_forward(experts, *few)
    monkeypatch.setattr("omega_server.model.quantize.modules._needs_no_host", lambda *_: True)
    assert distance(experts_forward(experts, *few), expected) < 1e-5


def test_another_experts_function_is_not_for_quantized_experts():
    """Whoever chooses a function for the model's experts does not reach those that have no plain weights."""
    model = load(str(MOE), "float32", "cpu", "int8")
    expected = logits(model)
    model.set_experts_implementation("eager")
    assert torch.equal(logits(model), expected)


def test_every_layout_of_experts_is_converted_alike(tmp_path):
    """Experts that are turned while loading are quantized after that: as those of a converted checkpoint."""
    convert([str(FORK), str(tmp_path / "new")])
    before, after = (load(str(path), "float32", "cpu", "int8") for path in (FORK, tmp_path / "new"))
    assert torch.equal(logits(before), logits(after))


def changed(tmp_path, path=DENSE, **text):
    """A copy of a demo model with another text configuration."""
    target = tmp_path / "model"
    shutil.copytree(path, target)
    config = json.loads((target / "config.json").read_text())
    config["text_config"] |= text
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_a_weight_that_int4_cannot_take(tmp_path):
    """It is named, before anything is loaded."""
    model = changed(tmp_path, intermediate_size=328)
    with pytest.raises(ModelError, match=r"layers\.0\.mlp\.down_proj\.weight has 328 inputs: use int8 or none"):
        load(str(model), "float32", "cpu", "int4")


@pytest.mark.parametrize("path", [DENSE, MOE], ids=lambda path: path.name)
def test_weights_that_do_not_belong_to_the_config(tmp_path, path):
    """A shape that is not the config's is refused, although a converted weight has another one anyway."""
    model = changed(tmp_path, path, intermediate_size=640, moe_intermediate_size=320)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(str(model), "float32", "cpu", "int8")


def test_a_checkpoint_without_one_of_its_weights(tmp_path):
    """One weight is missing, not also its scale, which no checkpoint has."""
    shutil.copytree(DENSE, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    gone = "model.language_model.layers.1.mlp.up_proj.weight"
    del weights[gone]
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"1 weights are missing, the first is {gone}"):
        load(str(tmp_path / "model"), "float32", "cpu", "int8")


def test_a_linear_layer_with_a_bias():
    """The bias is added as it is."""
    linear = nn.Linear(32, 16)
    quantizer = Quantizer(Quantization("int8", "cpu"), pre_quantized=False)
    form = quantizer.choose("w", linear.weight)
    quantized = QuantizedLinear(linear, form)
    values, quantized.weight_scale = form.quantize(linear.weight.detach())
    quantized.weight = nn.Parameter(values, requires_grad=False)
    x = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0))
    assert distance(quantized(x), linear(x)) < 0.02
