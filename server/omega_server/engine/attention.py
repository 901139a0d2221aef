"""The one attention function over the paged KV cache, plugged into transformers' modules by name.

This is the reference for every device: torch's scaled_dot_product_attention over gathered blocks. Whatever is faster
on some device (varlen.py) takes the same `Paging` and must give the same numbers. Only the language model uses it; the vision tower
keeps its own attention.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from omega_server.engine import varlen
from omega_server.engine.decodes import Group
from omega_server.engine.kv_cache import KVCache
from omega_server.engine.varlen import Ragged

NAME = "omega_paged"


@dataclass(frozen=True, slots=True)
class PrefillPaging:
    """One sequence's chunk in the packed tokens.

    Attributes:
        start: of the chunk in the packed tokens.
        end: of the chunk in the packed tokens.
        length: tokens of the sequence up to the chunk's end.
        blocks: [ceil(length / block_size)] int64; None if the chunk begins the sequence: it sees only itself.
        mask: [end - start, length] bool, True where a token may look; None with `blocks`.
    """

    start: int
    end: int
    length: int
    blocks: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class Paging:
    """Where a step's tokens lie in the cache. Made once for each step, shared by all layers.

    Attributes:
        cache: that is written and read.
        slots: [T] int64, where each packed token is written.
        decodes: the first packed tokens, one each of sequences that are answering; none where `ragged` has them.
        prefills: the chunks that follow.
        ragged: the decodes, if all of them attend in one call.
    """

    cache: KVCache
    slots: Tensor
    decodes: tuple[Group, ...]
    prefills: tuple[PrefillPaging, ...]
    ragged: Ragged | None = None


def paged_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - transformers' signature
    *,
    scaling: float,
    paging: Paging,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend from packed tokens to everything before them in their own sequences.

    Args:
        module: the attention layer; its `layer_idx` chooses the layer of the cache.
        query: [1, heads, T, head_dim]
        key: [1, kv_heads, T, head_dim]
        value: [1, kv_heads, T, head_dim]
        attention_mask: None; the paging says who sees what.
        scaling: of the scores.
        paging: where the tokens lie.

    Returns:
        [1, T, heads, head_dim], and None for the weights.
    """
    layer = cast("int", module.layer_idx)
    heads, total, head_dim = query.shape[1:]
    kv_heads = key.shape[1]
    paging.cache.write(layer, paging.slots, key[0].transpose(0, 1), value[0].transpose(0, 1))
    output = query.new_empty(total, heads, head_dim)
    # The query heads of one key head become the rows of one small matrix product.
    rows = query[0].transpose(0, 1).view(total, kv_heads, heads // kv_heads, head_dim)
    for group in paging.decodes:
        here = slice(group.start, group.end)
        keys, values = (
            gathered.view(len(group.mask), -1, kv_heads, head_dim).transpose(1, 2)
            for gathered in paging.cache.read(layer, group.blocks)
        )
        attended = scaled_dot_product_attention(rows[here], keys, values, attn_mask=group.mask, scale=scaling)
        output[here] = attended.flatten(1, 2)
    if paging.ragged is not None:
        here = slice(0, len(paging.ragged.lengths))
        layers = paging.cache.keys[layer], paging.cache.values[layer]
        output[here] = varlen.attend(query[0].transpose(0, 1)[here].contiguous(), *layers, paging.ragged, scaling)
    for chunk in paging.prefills:
        here = slice(chunk.start, chunk.end)
        if chunk.blocks is None:
            keys, values = key[:, :, here], value[:, :, here]
        else:
            keys, values = (t[: chunk.length].transpose(0, 1)[None] for t in paging.cache.read(layer, chunk.blocks))
        attended = scaled_dot_product_attention(
            query[:, :, here],
            keys,
            values,
            attn_mask=chunk.mask,
            is_causal=chunk.mask is None,
            scale=scaling,
            enable_gqa=heads != kv_heads,
        )
        output[here] = attended[0].transpose(0, 1)
    return output[None], None


def register() -> None:
    """Make the function known to transformers by its name. No mask is built for it."""
    AttentionInterface.register(NAME, paged_attention)
    AttentionMaskInterface.register(NAME, lambda **_: None)


def use_in(language_model: nn.Module) -> None:
    """Let a language model attend through the paged cache from now on."""
    register()
    language_model.set_attn_implementation(NAME)  # type: ignore[operator]


def causal_mask(start: int, end: int, device: torch.device) -> Tensor:
    """[end - start, end] bool: tokens [start, end) see everything up to themselves."""
    return torch.ones(end - start, end, dtype=torch.bool, device=device).tril_(start)
