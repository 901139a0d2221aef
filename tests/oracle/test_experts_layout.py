"""Experts load right however they lie in the file, and are saved so that they load again."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

from omega_server.model import checkpoint, loader, omega

EXPERTS = ("gate_up_proj", "down_proj")


def transpose(weights):
    """From the fork's layout to that of transformers 5, or back."""
    return {
        name: value.transpose(1, 2).contiguous() if name.endswith(EXPERTS) else value for name, value in weights.items()
    }


def assert_same(path: Path, weights: dict[str, torch.Tensor]):
    """Assert that what is loaded from `path` is, name by name and bit by bit, `weights`."""
    loaded = loader.load(str(path), "float32", "cpu").state_dict()
    assert loaded.keys() == weights.keys()
    assert [name for name, value in weights.items() if not torch.equal(loaded[name], value)] == []


@pytest.fixture
def exp(checkpoints):
    """The checkpoint that the fork wrote; its gate_up is square, so the shape does not tell the layout."""
    checkpoint = checkpoints["omega17_vl_exp"]
    text = checkpoint.model.config.text_config
    assert 2 * text.moe_intermediate_size == text.hidden_size
    return checkpoint


def test_a_saved_checkpoint_loads_again(exp, tmp_path):
    """What was loaded and saved has the fork's layout, and is the same when it is loaded again."""
    exp.model.save_pretrained(tmp_path)
    written, original = load_file(tmp_path / "model.safetensors"), load_file(exp.path / "model.safetensors")
    assert written.keys() == original.keys()
    assert all(torch.equal(written[name], value.float()) for name, value in original.items())
    assert_same(tmp_path, exp.model.state_dict())


def test_a_checkpoint_is_converted_by_marking_and_saving_it(exp, tmp_path):
    """Marked and saved, the file holds the experts as the model does, and still loads the same, squares included."""
    model = loader.load(str(exp.path), "float32", "cpu")
    model.config.text_config.experts_layout = omega.MODEL_LAYOUT
    model.save_pretrained(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(written[name], value) for name, value in exp.model.state_dict().items())
    assert_same(tmp_path, exp.model.state_dict())


def test_an_unknown_mark_is_refused(exp, tmp_path):
    """A layout that nobody here can read is an error in one line, not a guess."""
    shutil.copytree(exp.path, tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / "config.json").read_text())
    content["text_config"]["experts_layout"] = "transformers-6"
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(
        checkpoint.ModelError, match="experts_layout is 'transformers-6', but can only be 'transformers-5'"
    ):
        loader.load(str(tmp_path), "float32", "cpu")


def test_the_processor_is_saved_so_that_it_loads_again(exp, tmp_path):
    """A processor that was loaded and saved has the same classes and the same settings."""
    exp.processor.save_pretrained(tmp_path)
    shutil.copy(exp.path / "config.json", tmp_path)
    again = loader.load_processor(str(tmp_path))
    assert type(again) is type(exp.processor)
    assert again.to_dict() == exp.processor.to_dict()


def _write(path: Path, config, weights) -> None:
    config.save_pretrained(path)
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("official", [False, True], ids=["omega17_vl_exp", "qwen3_vl_moe"])
@pytest.mark.parametrize("layout", ["fork", "transformers-5"])
def test_without_a_mark_the_shape_decides(exp, tmp_path, official, layout):
    """Experts of any shape but a square load from both layouts; official checkpoints do so without our help."""
    content = json.loads((exp.path / "config.json").read_text())
    content["text_config"]["moe_intermediate_size"] = 32
    del content["model_type"]
    if official:
        content["text_config"]["model_type"] = "qwen3_vl_moe_text"
        content["vision_config"]["model_type"] = "qwen3_vl_moe_vision"
        model = Qwen3VLMoeForConditionalGeneration(Qwen3VLMoeConfig(**content))
    else:
        model = omega.Omega17VLExpForConditionalGeneration(omega.Omega17VLExpConfig(**content))
    weights = model.float().state_dict()
    _write(tmp_path, model.config, weights if layout == "transformers-5" else transpose(weights))
    assert_same(tmp_path, weights)
