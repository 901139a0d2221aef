"""The dense model: a Qwen3-VL of 1.7 million parameters, and a faster way through its vision tower for training."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from processor import MERGE, PATCH
from transformers import GenerationConfig, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

HIDDEN = 128
TEXT: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 320,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 4096,
    # mrope_section is counted in pairs, so it sums to half of head_dim.
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [6, 5, 5],
        "mrope_interleaved": True,
    },
}
VISION: dict[str, Any] = {
    "depth": 4,
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_heads": 3,
    "patch_size": PATCH,
    "spatial_merge_size": MERGE,
    "temporal_patch_size": 2,
    "out_hidden_size": HIDDEN,
    "num_position_embeddings": 100,
    "deepstack_visual_indexes": [1],
}


def token_ids(tokenizer: Any) -> dict[str, int]:
    """What a Qwen3-VL configuration wants to know of its tokenizer."""
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    names |= {"vision_start_token_id": "vision_start", "vision_end_token_id": "vision_end"}
    return {key: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}


def text_config(tokenizer: Any) -> dict[str, Any]:
    """TEXT and what belongs to the tokenizer. Weights are tied, so the output layer costs no parameters."""
    return TEXT | {
        "vocab_size": len(tokenizer),
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
    }


def generation_config(tokenizer: Any) -> GenerationConfig:
    """Greedy, with both ends of text; room for the story."""
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=512,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
    )


def make_model(tokenizer: Any) -> Qwen3VLForConditionalGeneration:
    """A dense model with random weights."""
    config = Qwen3VLConfig(
        text_config=text_config(tokenizer), vision_config=VISION, tie_word_embeddings=True, **token_ids(tokenizer)
    )
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config = generation_config(tokenizer)
    return model


def patches_of(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 (n, height, width, 3) -> float (n, patches, 768): the processor's order of patches, one frame of two."""
    n, height, width, _ = pictures.shape
    rows, columns = height // PATCH // MERGE, width // PATCH // MERGE
    x = (pictures.float() / 127.5 - 1).view(n, rows, MERGE, PATCH, columns, MERGE, PATCH, 3)
    return x.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(n, -1, 3 * PATCH * PATCH)


class Sight:
    """model.visual for pictures of one form at a time: no loop over pictures, no three-dimensional convolution.

    It trains about three times faster and uses the very weights of the tower it is made of.
    """

    def __init__(self, tower: Any) -> None:
        self.tower = tower
        self.places: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def __call__(self, pictures: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """uint8 (n, height, width, 3) -> features (n, tokens, hidden) and the deepstack ones of the same form."""
        tower = self.tower
        grid = pictures.shape[1] // PATCH, pictures.shape[2] // PATCH
        if grid not in self.places:
            self.places[grid] = self._places(grid)
        indices, weights, cos, sin = self.places[grid]
        # A picture is two equal frames to the tower, so the weights of both frames act on one.
        kernel = tower.patch_embed.proj.weight.sum(2).flatten(1)
        h = F.linear(patches_of(pictures), kernel, tower.patch_embed.proj.bias)
        h = h + (tower.pos_embed(indices) * weights[:, :, None]).sum(1)
        deep: list[torch.Tensor] = []
        for i, block in enumerate(tower.blocks):
            q, k, v = block.attn.qkv(block.norm1(h)).unflatten(-1, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(_turned(q, cos, sin), _turned(k, cos, sin), v)
            h = h + block.attn.proj(mixed.transpose(1, 2).flatten(2))
            h = h + block.mlp(block.norm2(h))
            if i in tower.deepstack_visual_indexes:
                deep.append(self._merged(tower.deepstack_merger_list[len(deep)], h))
        return self._merged(tower.merger, h), deep

    def _places(self, grid: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        tower, thw = self.tower, torch.tensor([[1, *grid]])
        indices, weights = get_vision_interpolation_indices_and_weights(
            thw,
            num_grid_per_side=tower.num_grid_per_side,
            mode=tower.interpolation_mode,
            align_corners=tower.interpolation_align_corners,
            spatial_merge_size=MERGE,
            kwargs={},
        )
        cos, sin = tower.rotary_pos_emb(weights, get_vision_position_ids(thw, MERGE, kwargs={}))
        return indices, weights, cos, sin

    @staticmethod
    def _merged(merger: Callable[[torch.Tensor], torch.Tensor], h: torch.Tensor) -> torch.Tensor:
        return merger(h.flatten(0, 1)).view(len(h), -1, HIDDEN)


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin
