"""Models with random weights that never stop and always speak."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from bench import model
from bench.model import DEMO, MOE, Shape
from omega_server.model.loader import load, load_processor

TINY = replace(
    MOE,
    name="tiny",
    text=MOE.text | {"hidden_size": 64, "num_hidden_layers": 2, "num_experts": 4, "moe_intermediate_size": 48},
    vision={"hidden_size": 32, "depth": 2, "num_heads": 2, "intermediate_size": 64, "deepstack_visual_indexes": [0]},
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the same make as the benchmark's, but tiny."""
    return model.make(TINY, tmp_path_factory.mktemp("models"))


def test_made_once(tiny: Path) -> None:
    """What is there is not made again, and another shape gets another directory."""
    before = (tiny / "model.safetensors").stat()
    assert model.make(TINY, tiny.parent) == tiny
    assert (tiny / "model.safetensors").stat() == before
    assert [path.name for path in tiny.parent.iterdir()] == [tiny.name]


def test_repeatable(tiny: Path, tmp_path: Path) -> None:
    """The same shape gives the same weights."""
    again = model.make(TINY, tmp_path)
    assert (again / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()


def test_experts_lie_as_in_released_files(tiny: Path) -> None:
    """[experts, in, out] in the file, whichever way transformers keeps them: vLLM reads no other layout."""
    hidden, experts, inner = (TINY.text[name] for name in ("hidden_size", "num_experts", "moe_intermediate_size"))
    stored = load_file(tiny / "model.safetensors")
    gate_up = stored["model.language_model.layers.0.mlp.experts.gate_up_proj"]
    assert gate_up.shape == (experts, hidden, 2 * inner)
    loaded = load(str(tiny), "float32", "cpu").model.language_model.layers[0].mlp.experts
    assert torch.equal(loaded.gate_up_proj.data, gate_up.transpose(1, 2))


def test_answers_never_end_and_can_always_be_shown(tiny: Path) -> None:
    """Greedy answers have all their tokens, each a piece of printable ASCII."""
    loaded = load(str(tiny), "float32", "cpu")
    tokenizer = load_processor(str(tiny)).tokenizer
    prompts = torch.randint(0, 1000, (4, 8), generator=torch.Generator().manual_seed(0))
    answers = loaded.generate(prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=24, do_sample=False)
    assert answers.shape == (4, 32)
    for token in answers[:, 8:].flatten().tolist():
        text = tokenizer.decode([token])
        assert text.strip()
        assert text.isascii()


def test_speakable_leaves_out_what_cannot_be_shown() -> None:
    """Neither special tokens nor single bytes of other scripts."""
    tokenizer = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    said = set(model.speakable(tokenizer))
    for token in ("<|im_end|>", "<|endoftext|>", "<|image_pad|>", "<think>", "Ã", "Ċ"):
        assert tokenizer.token_to_id(token) not in said
    assert {tokenizer.token_to_id("blue"), tokenizer.token_to_id("Ġplace")} <= said


def test_parameters_are_counted(tiny: Path) -> None:
    """From the files, as the loaded model has them."""
    loaded = load(str(tiny), "float32", "cpu")
    assert model.parameters(tiny) == sum(parameter.numel() for parameter in loaded.parameters())


@pytest.mark.parametrize("shape", [model.MOE, model.DENSE])
def test_positions_turn_whole_heads(shape: Shape) -> None:
    """The three parts of the rotary positions make up half a head, in Qwen3-VL's proportions."""
    config: dict[str, Any] = model._config(shape)
    sections = config["text_config"]["rope_parameters"]["mrope_section"]
    assert sum(sections) == shape.text["head_dim"] // 2
    assert sections[1] == sections[2] <= sections[0]


def test_dense_is_qwen3_vl_2b() -> None:
    """The larger shape has the family's own positions."""
    config = model._config(model.DENSE)
    assert config["text_config"]["rope_parameters"]["mrope_section"] == [24, 20, 20]
    assert config["model_type"] == "qwen3_vl"


def test_full_hd_is_not_made_smaller(tiny: Path) -> None:
    """A 1080p picture keeps its patches, so that the bar about it means what it says."""
    size = json.loads((tiny / "processor_config.json").read_text())["image_processor"]["size"]
    processor = load_processor(str(tiny))
    assert processor.image_processor.get_number_of_image_patches(1080, 1920) == (1088 // 16) * (1920 // 16)
    assert size["longest_edge"] == 1920 * 1088
