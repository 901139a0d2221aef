"""On the CPU: attention layers and norms that compute what transformers' own compute, with a third of the operators.

A decode step has so few tokens that calling an operator costs as much as its arithmetic. Queries, keys and values
come from one product; queries and keys are normed and turned together.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextAttention,
    Qwen3VLTextRMSNorm,
    Qwen3VLVisionPatchEmbed,
)
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import (
    Qwen3VLMoeTextAttention,
    Qwen3VLMoeTextRMSNorm,
    Qwen3VLMoeVisionPatchEmbed,
)

from omega_server.model import packed

_ATTENTION = (Qwen3VLTextAttention, Qwen3VLMoeTextAttention)
_NORMS = (Qwen3VLTextRMSNorm, Qwen3VLMoeTextRMSNorm)
_PATCHES = (Qwen3VLVisionPatchEmbed, Qwen3VLMoeVisionPatchEmbed)


class FusedAttention(nn.Module):
    """An attention layer of Qwen3-VL's language model for packed tokens, [1, T, hidden]. The attention function keeps the cache.

    Its turns come from `Turns`.

    Attributes:
        kv_heads: that it has.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        # Attention functions look at these.
        self.config, self.layer_idx, self.head_dim = attention.config, attention.layer_idx, attention.head_dim
        self.num_key_value_groups, self.scaling = attention.num_key_value_groups, attention.scaling
        self.is_causal = True
        parts = [attention.q_proj, attention.k_proj, attention.v_proj]
        self._heads, self.kv_heads = (part.out_features // self.head_dim for part in parts[:2])
        bias = None if parts[0].bias is None else torch.cat([part.bias.detach() for part in parts])
        self.qkv_proj = packed.PackedLinear(torch.cat([part.weight.detach() for part in parts]), bias)
        self.o_proj = attention.o_proj
        norms = [attention.q_norm.weight.expand(self._heads, -1), attention.k_norm.weight.expand(self.kv_heads, -1)]
        self.norm = nn.Parameter(torch.cat(norms).detach(), requires_grad=False)
        self._epsilon = attention.q_norm.variance_epsilon

    def forward(
        self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], **more: Any
    ) -> tuple[Tensor, Tensor | None]:
        """As transformers' own, whose attention function gets `more`."""
        total = hidden_states.shape[1]
        projected = self.qkv_proj(hidden_states).view(total, -1, self.head_dim)
        query_and_key, value = projected.split([self._heads + self.kv_heads, self.kv_heads], dim=1)
        normed = rms_norm(query_and_key, (self.head_dim,), None, self._epsilon) * self.norm
        cosine, sine = position_embeddings
        turned = torch.addcmul(normed * cosine, normed.roll(self.head_dim // 2, -1), sine)
        query, key = turned.split([self._heads, self.kv_heads], dim=1)
        attend = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        attended, weights = attend(
            self, *(t.transpose(0, 1)[None] for t in (query, key, value)), scaling=self.scaling, **more
        )
        return self.o_proj(attended.reshape(1, total, -1)), weights


class Turns(nn.Module):
    """Cosine and sine of each packed token, [T, 1, head_dim]; the sine with the sign that its half is turned with."""

    def __init__(self, turns: nn.Module) -> None:
        super().__init__()
        self.inner = turns

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """As transformers' own, for [3, 1, T] positions."""
        cosine, sine = self.inner(x, position_ids)
        half = sine.shape[-1] // 2
        return cosine[0, :, None], torch.cat((-sine[0, :, None, :half], sine[0, :, None, half:]), dim=-1)


class FusedNorm(nn.Module):
    """The norm of Qwen3-VL's language model."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = norm.weight, norm.variance_epsilon

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden] to [..., hidden]."""
        return rms_norm(x, x.shape[-1:], None, self.variance_epsilon) * self.weight


class FusedPatches(nn.Module):
    """The first layer of Qwen3-VL's vision tower: its convolution sees each patch whole, and once, so it is one product."""

    def __init__(self, patches: Any) -> None:
        super().__init__()
        self.proj = packed.PackedLinear(patches.proj.weight.detach().flatten(1), patches.proj.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """[patches, features] to [patches, hidden]."""
        return self.proj(pixels.view(-1, self.proj.in_features))


def use_in_tower(tower: Any) -> None:
    """Replace what can be replaced in a vision tower."""
    if type(tower.patch_embed) in _PATCHES and packed.can_pack(tower.patch_embed.proj, tower.patch_embed.proj.weight):
        tower.patch_embed = FusedPatches(tower.patch_embed)


def use_in(language_model: Any) -> None:
    """Replace what can be replaced: attention in all layers or none, for they share their turns. Before anything is packed."""
    layers = language_model.layers
    if all(_can_fuse(layer.self_attn) for layer in layers):
        for layer in layers:
            layer.self_attn = FusedAttention(layer.self_attn)
        language_model.rotary_emb = Turns(language_model.rotary_emb)
    for path, module in list(language_model.named_modules()):
        if type(module) in _NORMS:
            language_model.set_submodule(path, FusedNorm(module))


def _can_fuse(attention: nn.Module) -> bool:
    return type(attention) in _ATTENTION and all(
        type(part) is nn.Linear and packed.can_pack(part, part.weight)
        for part in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
