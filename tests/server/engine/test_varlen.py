"""Paged attention for CUDA, held against what torch documents of it; where torch has none, it is not used."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextAttention

from omega_server.engine import varlen
from omega_server.engine.attention import Paging, paged_attention
from omega_server.engine.block_tables import BlockTables
from omega_server.engine.decodes import Decodes
from omega_server.engine.kv_cache import KVCache


def documented(query: Tensor, key: Tensor, value: Tensor, **given: Any) -> Tensor:
    """Torch's varlen_attn with a block table, as its documentation says: one query each, no causal mask."""
    assert given["cu_seq_q"].dtype == given["seqused_k"].dtype == given["block_table"].dtype == torch.int32
    assert given["cu_seq_q"].tolist() == list(range(len(query) + 1))
    assert given["max_q"] == 1
    assert given["max_k"] == given["block_table"].shape[1] * key.shape[1]
    output = torch.empty_like(query)
    for index, (length, blocks) in enumerate(zip(given["seqused_k"].tolist(), given["block_table"], strict=True)):
        keys, values = (t[blocks.long()].flatten(0, 1)[:length].transpose(0, 1) for t in (key, value))
        attended = scaled_dot_product_attention(
            query[index, :, None], keys, values, scale=given["scale"], enable_gqa=given["enable_gqa"]
        )
        output[index] = attended[:, 0]
    return output


@pytest.fixture
def cache() -> KVCache:
    """One layer, fifty blocks of four tokens, two heads of eight."""
    made = KVCache(
        layers=1, blocks=50, block_size=4, heads=2, head_dim=8, dtype=torch.float32, device=torch.device("cpu")
    )
    torch.manual_seed(0)
    made.keys[0].normal_()
    made.values[0].normal_()
    return made


def test_the_same_numbers_in_place_as_gathered(cache, monkeypatch):
    """The one attention function gives the same for decodes in groups and for decodes in one call."""
    monkeypatch.setattr(varlen, "varlen_attn", documented)
    layer = Qwen3VLTextAttention(
        Qwen3VLTextConfig(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=8), layer_idx=0
    )
    tables = BlockTables(width=8, padding=cache.padding)
    lengths, rows = [9, 1, 30, 16], [tables.take() for _ in range(4)]
    for index, row in enumerate(rows):
        tables.write(row, list(range(index * 9, index * 9 + -(-lengths[index] // 4))))
    decodes = Decodes(cache, tables, group_blocks=1000)
    decodes.update(rows, lengths)
    (group,) = decodes.groups
    slots = torch.from_numpy(decodes.slots)
    in_place = varlen.ragged(torch.from_numpy(decodes.lengths), group.blocks.view(4, -1))
    tensors = [torch.randn(1, heads, 4, 8) for heads in (4, 2, 2)]
    with torch.inference_mode():
        gathered, _ = paged_attention(
            layer, *tensors, None, scaling=0.4, paging=Paging(cache, slots, decodes.groups, ())
        )
        read, _ = paged_attention(layer, *tensors, None, scaling=0.4, paging=Paging(cache, slots, (), (), in_place))
    torch.testing.assert_close(read, gathered)


def test_no_cpu_and_no_float32_is_tried(cache):
    """Torch has it for CUDA and half precision only."""
    assert not varlen.works(4, cache.keys[0])


@pytest.mark.parametrize(("factor", "agrees"), [(1.0, True), (1.5, False)])
def test_wrong_numbers_are_found_out(cache, monkeypatch, factor, agrees):
    """The trial tells right numbers from wrong ones."""
    monkeypatch.setattr(varlen, "varlen_attn", lambda *tensors, **given: factor * documented(*tensors, **given))
    assert varlen._agrees(4, cache.keys[0]) is agrees
