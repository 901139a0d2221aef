"""What a person reads when a model cannot be served."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from omega_server.model.checkpoint import ModelError, check
from omega_server.model.loader import load, load_processor

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "demo" / "model"
FORK = ROOT / "tests" / "oracle" / "checkpoints" / "omega17_vl_exp"


def copy(tmp_path, **config):
    """A copy of the demo model with another config."""
    target = tmp_path / "model"
    shutil.copytree(DEMO, target)
    file = target / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return target


def test_the_demo_model_loads_in_the_dtype_that_is_asked_for():
    """Weights are converted, and the model is ready for inference."""
    model = load(str(DEMO), "float32", "cpu")
    assert model.dtype == torch.float32
    assert not model.training
    assert load_processor(str(DEMO)).tokenizer.vocab_size > 0


def test_a_missing_directory_and_one_without_a_model(tmp_path):
    """The path is named, and what is missing in it."""
    with pytest.raises(ModelError, match="does not exist"):
        load(str(tmp_path / "none"), "float32", "cpu")
    with pytest.raises(ModelError, match="holds no model"):
        load(str(tmp_path), "float32", "cpu")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="is not a JSON object"):
        load(str(tmp_path), "float32", "cpu")


def test_an_architecture_that_is_not_served(tmp_path):
    """The type is named, and those that are served."""
    with pytest.raises(ModelError, match="type 'llama', which is not served; served are qwen3_vl"):
        load(str(copy(tmp_path, model_type="llama")), "float32", "cpu")


@pytest.mark.parametrize("damage", ["gone", "cut", "foreign"])
def test_weights_that_are_missing_or_damaged(tmp_path, damage):
    """One line says what is wrong with the weights."""
    model = copy(tmp_path)
    weights = model / "model.safetensors"
    if damage == "gone":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:5000])
    else:
        config = json.loads((model / "config.json").read_text())
        config["text_config"]["num_hidden_layers"] = 6
        (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as error:
        load(str(model), "float32", "cpu")
    assert "\n" not in str(error.value)
    expected = {"gone": "has no weights", "cut": "cannot be loaded", "foreign": "is incomplete"}[damage]
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quantization": "int3"}, "quantization int3 is unknown: use one of none, int8, int4"),
        (
            {"quantization": "int8", "tensor_parallel": 2},
            "int8 works in engines of one GPU only, and each is to have 2",
        ),
        ({"tensor_parallel": 3}, "divided among 3 GPUs, .* num_attention_heads 4, .*; use a tensor parallelism that"),
        ({"dtype": "float8"}, "dtype float8 is unknown"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(options, words):
    """Nothing that was asked for is silently left out."""
    with pytest.raises(ModelError, match=words):
        check(str(DEMO), **{"dtype": "float32"} | options)


@pytest.mark.parametrize("where", ["top", "text"])
def test_a_checkpoint_that_is_quantized_already(tmp_path, where):
    """It is not quantized once more."""
    mark = {"quantization_config": {"quant_method": "fp8"}}
    text = json.loads((DEMO / "config.json").read_text())["text_config"]
    path = copy(tmp_path, **(mark if where == "top" else {"text_config": text | mark}))
    with pytest.raises(ModelError, match="is quantized as it is: use quantization none"):
        check(str(path), dtype="float32", quantization="int4")
    assert check(str(path), dtype="float32") == "qwen3_vl"


def test_what_tensor_parallelism_needs(tmp_path):
    """Sizes that the GPUs divide, in config.json itself, and experts in the layout that convert makes."""
    check(str(DEMO), dtype="float32", tensor_parallel=2)
    check(str(DEMO.with_name("model-moe")), dtype="float32", tensor_parallel=2)
    with pytest.raises(ModelError, match="num_key_value_heads 2, moe_intermediate_size 160;"):
        check(str(DEMO.with_name("model-moe")), dtype="float32", tensor_parallel=4)
    with pytest.raises(ModelError, match="num_key_value_heads None"):
        check(str(copy(tmp_path, text_config={})), dtype="float32", tensor_parallel=2)
    with pytest.raises(ModelError, match="must be converted for tensor parallelism, once: run omega-server convert"):
        check(str(FORK), dtype="float32", tensor_parallel=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_without_a_gpu():
    """The user learns that there is no GPU before anything is loaded."""
    with pytest.raises(ModelError, match="no CUDA GPU is visible"):
        load(str(DEMO), "bfloat16", "cuda:0")


def test_a_directory_without_a_processor(tmp_path):
    """A model without its tokenizer is refused in one line."""
    model = copy(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (model / name).unlink()
    with pytest.raises(ModelError, match="processor") as error:
        load_processor(str(model))
    assert "\n" not in str(error.value)
