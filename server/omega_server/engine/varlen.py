"""Decodes on CUDA: torch's own paged attention reads the blocks where they lie, and nothing is gathered.

torch offers it for float16 and bfloat16 on some GPUs only (Hopper and Blackwell, by cuDNN), and says so when it is called.
So it is tried when an engine starts, and used if it works and gives the same numbers; else decodes attend as on every
device (attention.py). This has been tested against what torch documents; no run on a GPU has been made of it yet.
"""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ragged:
    """Decodes that attend in one call.

    Attributes:
        starts: [n + 1] int32, 0 to n: one query each.
        lengths: [n] int32, tokens that each sees, its own included.
        tables: [n, B] int32, the blocks of each, padded.
    """

    starts: Tensor
    lengths: Tensor
    tables: Tensor


def attend(query: Tensor, keys: Tensor, values: Tensor, ragged: Ragged, scaling: float) -> Tensor:
    """Attend from one token of each sequence to all of its tokens.

    Args:
        query: [n, heads, head_dim]
        keys: [blocks, block_size, kv_heads, head_dim], a layer of the cache.
        values: [blocks, block_size, kv_heads, head_dim]
        ragged: where the tokens lie.
        scaling: of the scores.

    Returns:
        [n, heads, head_dim]
    """
    attended = varlen_attn(
        query,
        keys,
        values,
        cu_seq_q=ragged.starts,
        cu_seq_k=None,
        max_q=1,
        max_k=ragged.tables.shape[1] * keys.shape[1],
        scale=scaling,
        enable_gqa=query.shape[1] != keys.shape[2],
        seqused_k=ragged.lengths,
        block_table=ragged.tables,
    )
    assert isinstance(attended, Tensor), "nothing but the output was asked for"
    return attended


def works(heads: int, keys: Tensor) -> bool:
    """Whether `attend` works here, by trying it on three short sequences.

    Args:
        heads: of the queries.
        keys: a layer of the cache; only its shape, type and device count.
    """
    if keys.device.type != "cuda" or keys.dtype not in {torch.float16, torch.bfloat16}:
        return False
    try:
        return _agrees(heads, keys)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        logger.info("torch has no paged attention for this GPU, decodes gather their blocks: %s", error)
        return False


def _agrees(heads: int, keys: Tensor) -> bool:
    size, kv_heads, head_dim = keys.shape[1:]
    lengths = [1, size, 3 * size - 1]
    cache = torch.randn(2, 9, size, kv_heads, head_dim, device=keys.device).to(keys.dtype)
    tables = torch.randperm(9, device=keys.device).view(3, 3)
    query = torch.randn(3, heads, head_dim, device=keys.device).to(keys.dtype)
    attended = attend(query, cache[0], cache[1], ragged(torch.tensor(lengths), tables), head_dim**-0.5)
    for index, length in enumerate(lengths):
        one_keys, one_values = (
            layer[tables[index]].flatten(0, 1)[:length].transpose(0, 1).float() for layer in cache.unbind()
        )
        expected = scaled_dot_product_attention(query[index, :, None].float(), one_keys, one_values, enable_gqa=True)
        if not torch.allclose(attended[index].float(), expected[:, 0], atol=2e-2, rtol=2e-2):
            logger.warning("torch's paged attention gives wrong numbers on this GPU, decodes gather their blocks")
            return False
    return True


def ragged(lengths: Tensor, tables: Tensor) -> Ragged:
    """From [n] lengths and [n, B] block numbers, on the tables' device."""
    starts = torch.arange(len(lengths) + 1, dtype=torch.int32)
    return Ragged(*(t.to(tables.device, torch.int32) for t in (starts, lengths, tables)))
