"""Runs in the fork's environment: makes the tiny checkpoints, asks them the cases, writes down what came out."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoProcessor,
    Omega17VLConfig,
    Omega17VLExpConfig,
    Omega17VLExpForConditionalGeneration,
    Omega17VLForConditionalGeneration,
)
from transformers.models.omega17 import Omega17TokenizerFast
from transformers.models.omega17_vl import Omega17VLProcessor
from transformers.models.omega17_vl.image_processing_omega17_vl_fast import Omega17VLImageProcessorFast
from transformers.models.omega17_vl.video_processing_omega17_vl import Omega17VLVideoProcessor

from oracle.cases import cases, media

# Qwen's special tokens in Qwen's order, and its rule for splitting text before merging.
SPECIAL = [
    f"<|{name}|>"
    for name in (
        *("endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end"),
        *("quad_start", "quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad"),
    )
]
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
VOCABULARY = 512
ANSWER = 12  # tokens generated for each case
# Weights for which no greedy choice is a near tie (the smallest margin is printed): a tie would test rounding.
SEED = 1

FAMILIES = {
    "omega17_vl": (Omega17VLConfig, Omega17VLForConditionalGeneration),
    "omega17_vl_exp": (Omega17VLExpConfig, Omega17VLExpForConditionalGeneration),
}


def make_processor() -> Omega17VLProcessor:
    """A processor whose tokenizer was trained on a source file of the fork, which the pin makes the same everywhere."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    text = Path(transformers.__file__).parent / "models/omega17_vl/modeling_omega17_vl.py"
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - len(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train([str(text)], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    template = (Path(__file__).parent / "chat_template.jinja").read_text()
    fast = Omega17TokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token=None
    )
    limits = {"shortest_edge": 64 * 64, "longest_edge": 256 * 256}
    half = [0.5] * 3
    return Omega17VLProcessor(
        image_processor=Omega17VLImageProcessorFast(
            patch_size=16, merge_size=2, temporal_patch_size=2, size=limits, image_mean=half, image_std=half
        ),
        tokenizer=fast,
        video_processor=Omega17VLVideoProcessor(size={"shortest_edge": 64 * 64, "longest_edge": 512 * 512}),
        chat_template=template,
    )


def make_model(family: str, tokenizer: Omega17TokenizerFast) -> Any:
    """A tiny model with random weights, none at a value that would hide a part (norms of one, heads of zero)."""
    torch.manual_seed(SEED)
    config_class, model_class = FAMILIES[family]
    token = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "rope_scaling": {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True},
        "bos_token_id": None,
        "eos_token_id": token("<|im_end|>"),
    }
    if family == "omega17_vl_exp":
        # gate_up is square (2 * 24 = 48): its layout cannot be told from its shape.
        text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    vision = {
        "depth": 4,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": text["hidden_size"],
        "deepstack_visual_indexes": [0, 2],
        "num_position_embeddings": 64,
        "patch_size": 16,
    }
    config = config_class(
        text_config=text,
        vision_config=vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )
    model = model_class(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.add_(torch.randn_like(weight) * 0.1)
            elif weight.dim() > 1:
                weight.normal_(0, 0.15)
        model.lm_head.weight.normal_(0, 0.3)
    model.generation_config.eos_token_id = [token("<|im_end|>"), token("<|endoftext|>")]
    model.generation_config.pad_token_id = token("<|endoftext|>")
    return model.to(torch.bfloat16)  # as real checkpoints are; half the size, and exact in float32


def parts(messages: list[dict[str, Any]], kind: str) -> Iterator[str]:
    """The media of one kind in the messages, by name, in order."""
    for message in messages:
        if not isinstance(message["content"], str):
            yield from (part[kind] for part in message["content"] if part["type"] == kind)


def process(processor: Any, case: dict[str, Any], pictures: dict[str, Any]) -> Any:
    """The processor's tensors for one case."""
    text = processor.apply_chat_template(case["messages"], tokenize=False, add_generation_prompt=True)
    images = [pictures[name] for name in parts(case["messages"], "image")]
    arguments: dict[str, Any] = {"text": [text], "images": images or None, "return_tensors": "pt"}
    if case["videos"]:
        (name,), (video,) = list(parts(case["messages"], "video")), case["videos"]
        frames, width = video["frames"], pictures[name].width
        arguments["videos"] = [np.array(pictures[name]).reshape(frames, -1, width, 3)]
        arguments["do_sample_frames"] = video["sample"]
        arguments["video_metadata"] = [
            {"fps": video["fps"], "total_num_frames": frames, "frames_indices": list(range(frames))}
        ]
    return processor(**arguments)


@torch.no_grad()
def answer(model: Any, inputs: Any) -> tuple[list[int], torch.Tensor]:
    """At most ANSWER greedy tokens, and the logits [tokens, VOCABULARY] from which each was chosen, in one pass."""
    prompt = inputs["input_ids"]
    output = model.generate(**inputs, max_new_tokens=ANSWER, do_sample=False)
    whole = dict(inputs) | {"input_ids": output[:, :-1], "attention_mask": torch.ones_like(output[:, :-1])}
    logits = model(**whole).logits[0, prompt.shape[1] - 1 :]
    tokens = output[0, prompt.shape[1] :]
    if not torch.equal(logits.argmax(-1), tokens):
        raise RuntimeError("one pass over the answer does not agree with generating it; choose another SEED")
    return tokens.tolist(), logits.float().contiguous()


def record(family: str, out: Path) -> None:
    """Write the checkpoint of one family, load it again as a user would, and write down its answers."""
    checkpoint = out / "checkpoints" / family
    shutil.rmtree(checkpoint, ignore_errors=True)
    processor = make_processor()
    make_model(family, processor.tokenizer).save_pretrained(checkpoint)
    processor.save_pretrained(checkpoint)

    model = FAMILIES[family][1].from_pretrained(checkpoint, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(checkpoint)
    pictures = media()
    recorded, tensors = [], {}
    for case in cases():
        inputs = process(processor, case, pictures)
        tokens, logits = answer(model, inputs)
        grids = {key: value.tolist() for key, value in inputs.items() if key.endswith("_grid_thw")}
        recorded.append(case | {"input_ids": inputs["input_ids"][0].tolist(), "grids": grids, "tokens": tokens})
        tensors[f"{case['name']}/logits"] = logits
        margin = logits.topk(2).values.diff().abs().min()
        print(f"{family:15} {case['name']:18} {len(recorded[-1]['input_ids']):4} tokens, margin {margin:.3f}: {tokens}")
    versions = {module.__name__: module.__version__ for module in (transformers, torch, tokenizers)}
    folder = out / "recorded"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"family": family, "versions": versions, "cases": recorded}, indent=1)
    (folder / f"{family}.json").write_text(text + "\n")
    save_file(tensors, folder / f"{family}.safetensors")


def main() -> None:
    """Record everything into the folder that the command line names."""
    out = Path(sys.argv[1])
    (out / "media").mkdir(parents=True, exist_ok=True)
    for name, picture in media().items():
        picture.save(out / "media" / f"{name}.png", optimize=True)
    for family in FAMILIES:
        record(family, out)


if __name__ == "__main__":
    main()
