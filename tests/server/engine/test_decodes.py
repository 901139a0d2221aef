"""The layout of decodes that goes on from step to step is the one that is made anew, whatever happened before."""

import random

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextAttention

from omega_server.engine.attention import Paging, PrefillPaging, causal_mask, paged_attention
from omega_server.engine.block_tables import BlockTables
from omega_server.engine.decodes import Decodes
from omega_server.engine.kv_cache import KVCache

SIZE = 4
BLOCKS = 200
GROUP = 12


@pytest.fixture
def cache() -> KVCache:
    """One layer, 200 blocks of four tokens, two heads of eight."""
    made = KVCache(
        layers=1,
        blocks=BLOCKS,
        block_size=SIZE,
        heads=2,
        head_dim=8,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    torch.manual_seed(0)
    made.keys[0][:BLOCKS].normal_()
    made.values[0][:BLOCKS].normal_()
    return made


def layout(decodes: Decodes) -> list[object]:
    """Everything that attention sees of decodes."""
    groups = [(g.start, g.end, g.blocks.tolist(), g.mask.tolist()) for g in decodes.groups]
    return [decodes.order.tolist(), decodes.places.tolist(), decodes.slots.tolist(), groups]


def test_a_row_follows_its_blocks():
    """It grows with the sequence's list, is written anew for another list, and padded beyond it."""
    tables = BlockTables(width=4, padding=9)
    row, blocks = tables.take(), [1, 2]
    tables.write(row, blocks)
    assert tables.array[row].tolist() == [1, 2, 9, 9]
    rewritten = tables.rewritten
    blocks.append(3)
    tables.write(row, blocks)
    assert tables.array[row].tolist() == [1, 2, 3, 9]
    assert tables.rewritten == rewritten
    tables.write(row, [5])
    assert tables.array[row].tolist() == [5, 9, 9, 9]
    assert tables.rewritten > rewritten


def test_a_released_row_is_taken_clean():
    """Nothing of a sequence is left for the next one, also when rows had to be added in between."""
    tables = BlockTables(width=3, padding=9)
    rows = [tables.take() for _ in range(40)]
    assert sorted(rows) == list(range(40))
    for row in rows:
        tables.write(row, [row])
    tables.release(rows[7])
    assert tables.take() == rows[7]
    assert tables.array[rows[7]].tolist() == [9, 9, 9]
    assert tables.array[rows[8]].tolist() == [rows[8], 9, 9]


@pytest.mark.parametrize("seed", range(8))
def test_going_on_equals_beginning_anew(cache, seed):
    """Sequences grow, come, go, lose their blocks and come back, in random order; every layout equals a fresh one."""
    dice = random.Random(seed)
    tables = BlockTables(width=20, padding=cache.padding)
    decodes = Decodes(cache, tables, GROUP)
    free = list(range(BLOCKS))
    dice.shuffle(free)
    running: list[tuple[int, list[int], int]] = []
    for _ in range(120):
        event = dice.random()
        if event < 0.1 and len(running) < 9:
            length = dice.randint(1, 40)
            running.append((tables.take(), [free.pop() for _ in range(-(-length // SIZE))], length))
        elif event < 0.15 and running:
            row, blocks, _ = running.pop(dice.randrange(len(running)))
            tables.release(row)
            free += blocks
        elif event < 0.2 and running:
            row, blocks, length = running.pop()
            free += blocks
            dice.shuffle(free)
            running.append((row, [free.pop() for _ in blocks], length))
        running = [r if r[2] < 60 else (r[0], r[1], r[2] - 1) for r in running]
        grown = []
        for row, blocks, length in running:
            if len(blocks) * SIZE < length + 1:
                blocks.append(free.pop())
            tables.write(row, blocks)
            grown.append((row, blocks, length + 1))
        running = grown
        rows, lengths = [r[0] for r in running], [r[2] for r in running]
        decodes.update(rows, lengths)
        fresh = Decodes(cache, tables, GROUP)
        fresh.update(rows, lengths)
        assert layout(decodes) == layout(fresh)
        for place, which in enumerate(decodes.order):
            row, blocks, length = running[which]
            assert decodes.places[which] == place
            assert decodes.slots[place] == blocks[(length - 1) // SIZE] * SIZE + (length - 1) % SIZE
        for group in decodes.groups:
            assert group.end - group.start == 1 or len(group.blocks) <= GROUP


def test_the_same_step_again_is_the_same(cache):
    """A step that failed is run again, whole or in parts."""
    tables = BlockTables(width=20, padding=cache.padding)
    decodes = Decodes(cache, tables, GROUP)
    rows = [tables.take() for _ in range(3)]
    for row in rows:
        tables.write(row, [row * 2, row * 2 + 1])
    decodes.update(rows, [5, 3, 8])
    first = layout(decodes)
    decodes.update(rows[:1], [5])
    decodes.update(rows, [5, 3, 8])
    assert layout(decodes) == first
    decodes.update(rows, [5, 3, 8])
    assert layout(decodes) == first


def test_attention_equals_attention_over_each_sequence_alone(cache):
    """Decodes in several groups and chunks that begin or go on, against plain attention for each."""
    config = Qwen3VLTextConfig(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    layer = Qwen3VLTextAttention(config, layer_idx=0)
    tables = BlockTables(width=20, padding=cache.padding)
    decodes = Decodes(cache, tables, GROUP)
    generator = np.random.default_rng(0)
    free = generator.permutation(BLOCKS).tolist()
    lengths = [30, 3, 17, 1, 29, 16]
    chunks = [(0, 6), (9, 14)]
    owned = [[free.pop() for _ in range(-(-length // SIZE))] for length in [*lengths, *(end for _, end in chunks)]]
    rows = [tables.take() for _ in owned]
    for row, blocks in zip(rows, owned, strict=True):
        tables.write(row, blocks)
    decodes.update(rows[: len(lengths)], lengths)
    assert len(decodes.groups) > 2
    slots = decodes.slots.tolist()
    prefills = []
    for (start, end), blocks in zip(chunks, owned[len(lengths) :], strict=True):
        offset = len(slots)
        slots += [blocks[i // SIZE] * SIZE + i % SIZE for i in range(start, end)]
        mask = causal_mask(start, end, torch.device("cpu")) if start else None
        known = torch.tensor(blocks) if start else None
        prefills.append(PrefillPaging(offset, len(slots), end, known, mask))
    query, key, value = (torch.randn(1, heads, len(slots), 8) for heads in (4, 2, 2))
    paging = Paging(cache, torch.tensor(slots), decodes.groups, tuple(prefills))
    with torch.inference_mode():
        output, _ = paged_attention(layer, query, key, value, None, scaling=0.3, paging=paging)
    whole = [(place, place + 1, lengths[which], owned[which]) for place, which in enumerate(decodes.order)]
    whole += [(p.start, p.end, p.length, b) for p, b in zip(prefills, owned[len(lengths) :], strict=True)]
    for first, last, length, blocks in whole:
        keys, values = (
            t[0][torch.tensor(blocks)].flatten(0, 1)[:length].transpose(0, 1) for t in (cache.keys, cache.values)
        )
        allowed = causal_mask(length - (last - first), length, torch.device("cpu"))
        expected = scaled_dot_product_attention(
            query[0, :, first:last], keys, values, attn_mask=allowed, scale=0.3, enable_gqa=True
        )
        torch.testing.assert_close(output[0, first:last], expected.transpose(0, 1))
