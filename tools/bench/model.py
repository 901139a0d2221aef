"""Models with random weights: what they say means nothing, what they cost does.

The demo model's tokenizer, chat template and processor come along. The vocabulary is padded, as Qwen's own is, and the rows
of the output layer for padding, special tokens and bytes outside ASCII are zero, so that under greedy decoding none of them
ever wins against the random rest. So no answer ends early, each token is a piece of text that can be sent at once,
and all systems make the same number of tokens.
"""

# ruff: noqa: PLC0415

import hashlib
import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from tokenizers import Tokenizer

DEMO = Path(__file__).parents[2] / "demo" / "model"
COPIED = ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Shape:
    """A model to make.

    Attributes:
        name: of its directory.
        dtype: of the weights.
        text: fields of text_config.
        vision: fields of vision_config.
    """

    name: str
    dtype: str
    text: dict[str, Any]
    vision: dict[str, Any]


MOE = Shape(
    "moe-54m",
    "float32",
    {
        "hidden_size": 512,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,  # the model always does; vLLM wants to be told
        "moe_intermediate_size": 384,
        "intermediate_size": 1024,
        "vocab_size": 5120,
        "max_position_embeddings": 16384,
    },
    {"hidden_size": 192, "depth": 4, "num_heads": 6, "intermediate_size": 512, "deepstack_visual_indexes": [1, 2]},
)
"""54 million parameters, 8 experts of which 2 work for each token."""

DENSE = Shape(
    "dense-2b",
    "bfloat16",
    {
        "hidden_size": 2048,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 6144,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
    },
    {
        "hidden_size": 1024,
        "depth": 24,
        "num_heads": 16,
        "intermediate_size": 4096,
        "deepstack_visual_indexes": [5, 11, 17],
    },
)
"""The shape of Qwen3-VL-2B."""


def make(shape: Shape, folder: Path) -> Path:
    """A checkpoint of this shape, made now unless it is there already.

    Args:
        shape: of the model.
        folder: in which its directory is, under its name and a hash of everything it is made from.

    Returns:
        the directory of the checkpoint.
    """
    path = folder / f"{shape.name}-{_version(shape)}"
    if not path.exists():
        new = path.with_suffix(f".new{os.getpid()}")
        new.mkdir(parents=True)
        try:
            _write(shape, new)
            new.rename(path)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return path


def parameters(path: Path) -> int:
    """How many numbers a checkpoint's weights are."""
    total = 0
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total


def speakable(tokenizer: Tokenizer) -> list[int]:
    """Tokens that are a piece of printable ASCII by themselves."""
    plain = set(range(tokenizer.get_vocab_size())) - tokenizer.get_added_tokens_decoder().keys()
    texts = {token: tokenizer.decode([token]) for token in sorted(plain)}
    return [token for token, text in texts.items() if text.strip() and text.isascii() and text.isprintable()]


def _write(shape: Shape, path: Path) -> None:
    """The checkpoint itself. transformers and torch cost seconds, which whoever finds it there need not pay."""
    import torch
    import transformers
    from safetensors.torch import save_file

    config = _config(shape)
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, shape.dtype))
    try:
        model = getattr(transformers, config["architectures"][0])(transformers.AutoConfig.for_model(**config))
    finally:
        torch.set_default_dtype(torch.float32)
    said = torch.zeros(shape.text["vocab_size"], 1, dtype=torch.bool)
    said[speakable(Tokenizer.from_file(str(DEMO / "tokenizer.json")))] = True
    model.lm_head.weight.data *= said
    save_file(_released(model.state_dict()), path / "model.safetensors", {"format": "pt"})
    model.config.save_pretrained(path)
    model.generation_config.save_pretrained(path)
    for name in COPIED:
        shutil.copy(DEMO / name, path / name)
    processor = json.loads((DEMO / "processor_config.json").read_text())
    # As large as Qwen3-VL has it at least, and Full HD as it is, in multiples of 32 pixels.
    processor["image_processor"]["size"] = {"shortest_edge": 256 * 256, "longest_edge": 1920 * 1088}
    (path / "processor_config.json").write_text(json.dumps(processor, indent=2))


def _released(weights: dict[str, Any]) -> dict[str, Any]:
    """Weights in the layout of Qwen's released files, which all systems read: experts as [experts, in, out]."""
    return {
        name: (weight.transpose(1, 2) if ".mlp.experts." in name else weight).contiguous()
        for name, weight in weights.items()
    }


def _config(shape: Shape) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((DEMO / "config.json").read_text())
    family = "qwen3_vl_moe" if "num_experts" in shape.text else "qwen3_vl"
    third = (
        shape.text["head_dim"] // 6 // 2 * 2
    )  # of the halves of a head that turn: one part each for time, height, width
    sections = [shape.text["head_dim"] // 2 - 2 * third, third, third]
    special = {name: config["text_config"][name] for name in ("eos_token_id", "pad_token_id")}
    return {
        **{name: value for name, value in config.items() if name.endswith("_token_id")},
        "architectures": [
            "Qwen3VLMoeForConditionalGeneration" if "moe" in family else "Qwen3VLForConditionalGeneration"
        ],
        "model_type": family,
        "dtype": shape.dtype,
        "tie_word_embeddings": False,
        "text_config": {
            "model_type": f"{family}_text",
            "tie_word_embeddings": False,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_interleaved": True,
                "mrope_section": sections,
            },
            **special,
            **shape.text,
        },
        "vision_config": {
            "model_type": f"{family}_vision",
            "out_hidden_size": shape.text["hidden_size"],
            "num_position_embeddings": 2304,
            **shape.vision,
        },
    }


def _version(shape: Shape) -> str:
    """Another one for each change of the shape, of this file, or of what comes from the demo model."""
    content = hashlib.sha256(repr(shape).encode() + Path(__file__).read_bytes())
    for name in (*COPIED, "config.json", "processor_config.json"):
        content.update((DEMO / name).read_bytes())
    return content.hexdigest()[:12]
