"""The processor: a byte-level tokenizer trained on our questions, and the sizes that pictures are given.

It is made of the stock Qwen3-VL parts, so that AutoProcessor loads it. The chat template beside this file is our own;
like the stock one it knows system messages, tools, tool calls and tool answers.
"""

import json
import random
from pathlib import Path
from typing import Any

from questions import ALONE, ONE, which
from scenes import make_scene
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoProcessor, Qwen2Tokenizer, Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

SPECIALS = [
    f"<|{name}|>"
    for name in [
        "endoftext",
        "im_start",
        "im_end",
        "object_ref_start",
        "object_ref_end",
        "box_start",
        "box_end",
        "quad_start",
        "quad_end",
        "vision_start",
        "vision_end",
        "vision_pad",
        "image_pad",
        "video_pad",
    ]
]
MARKS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
SYSTEMS = ("You are a helpful assistant.", "Answer briefly.", "You are a tiny demo model.")
VOCABULARY = 1024
PATCH, MERGE = 16, 2
CELL = PATCH * MERGE  # side in pixels of the part of a picture that one visual token stands for
# A picture keeps its form and becomes 20 to 30 visual tokens: 5 x 5 a square one, 5 x 6 one of 4:3, 4 x 7 one of 16:9.
FEWEST_PIXELS, MOST_PIXELS = 22_000, 34_300


def grid_of(width: int, height: int) -> tuple[int, int]:
    """(rows, columns) of visual tokens that the processor makes of a picture of width x height pixels."""
    h, w = smart_resize(height, width, CELL, FEWEST_PIXELS, MOST_PIXELS)
    return h // CELL, w // CELL


def _corpus(rng: random.Random, n: int) -> list[str]:
    texts: list[str] = []
    for _ in range(n):
        scene = make_scene(rng)
        for asked in (
            rng.choice(list(ONE.values()))(scene, rng),
            which(scene, make_scene(rng), rng),
            rng.choice(list(ALONE.values()))(rng),
        ):
            if asked:
                texts += [f"user\n{asked[0]}\n", f"assistant\n{asked[1]}\n", f"system\n{rng.choice(SYSTEMS)}\n"]
    return texts


def make_tokenizer() -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer of 1,024 tokens: any text can be written in it, our own words are one token each."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIALS) - len(MARKS),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    raw.train_from_iterator(_corpus(random.Random("corpus"), 12_000), trainer)
    bpe = json.loads(raw.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=bpe["vocab"],
        merges=[tuple(pair) for pair in bpe["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=4096,
        extra_special_tokens=[s for s in SPECIALS if s not in {"<|im_end|>", "<|endoftext|>"}],
    )
    tokenizer.add_tokens(MARKS)
    return tokenizer


def make_processor(out: Path) -> Any:
    """Makes the processor, saves it in `out`, and gives what AutoProcessor makes of the saved files."""
    shared = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    Qwen3VLProcessor(
        Qwen2VLImageProcessor(size={"shortest_edge": FEWEST_PIXELS, "longest_edge": MOST_PIXELS}, **shared),
        make_tokenizer(),
        Qwen3VLVideoProcessor(size={"shortest_edge": FEWEST_PIXELS, "longest_edge": 16 * MOST_PIXELS}, **shared),
        chat_template=(Path(__file__).parent / "chat_template.jinja").read_text(),
    ).save_pretrained(out)
    return AutoProcessor.from_pretrained(out)
