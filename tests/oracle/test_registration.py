"""What would go wrong without a word if the registered classes did not see to it."""

import json
import shutil

import pytest
import torch
from transformers import AutoConfig

from omega_server.model import loader, omega


def test_registering_twice_is_harmless():
    """Each part of the server that needs the classes may register them."""
    omega.register()
    omega.register()
    assert isinstance(AutoConfig.for_model("omega17_vl_exp"), omega.Omega17VLExpConfig)


@pytest.mark.parametrize("family", ["omega17_vl", "omega17_vl_exp"])
def test_every_part_is_the_registered_one(checkpoints, family):
    """No part falls back to a class that only happens to load."""
    checkpoint = checkpoints[family]
    parts = [checkpoint.model, checkpoint.model.model.language_model, checkpoint.model.model.visual]
    processor = checkpoint.processor
    parts += [processor, processor.tokenizer, processor.image_processor, processor.video_processor]
    assert {type(part).__module__ for part in parts} == {omega.__name__}
    assert type(checkpoint.model.config.vision_config).__module__ == omega.__name__


def test_experts_are_not_computed_one_by_one(checkpoints):
    """The default is the grouped product, and another one can be chosen."""
    model = checkpoints["omega17_vl_exp"].model
    chosen = model.config.text_config._experts_implementation
    assert chosen == "grouped_mm"
    try:
        model.set_experts_implementation("batched_mm")
        assert model.model.language_model.config._experts_implementation == "batched_mm"
    finally:
        model.set_experts_implementation(chosen)


@pytest.mark.parametrize("family", ["omega17_vl", "omega17_vl_exp"])
@pytest.mark.parametrize("written", [None, 10_000.0])
def test_the_rope_base_is_the_forks(checkpoints, tmp_path, family, written):
    """A config without a RoPE base means the fork's default, not the official one; one with a base means that."""
    shutil.copytree(checkpoints[family].path, tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / "config.json").read_text())
    rope = content["text_config"]["rope_parameters"]
    assert rope.pop("rope_theta") == 5_000_000.0
    if written is not None:
        rope["rope_theta"] = written
    (tmp_path / "config.json").write_text(json.dumps(content))
    base = written or 5_000_000.0
    text = loader.load(str(tmp_path), "float32", "cpu").model.language_model
    assert text.config.rope_parameters["rope_theta"] == base
    head = text.config.head_dim
    expected = base ** -(torch.arange(0, head, 2, dtype=torch.float32) / head)
    torch.testing.assert_close(text.rotary_emb.inv_freq, expected)
