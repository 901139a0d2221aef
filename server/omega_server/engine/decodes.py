"""The sequences of a step that get one token each: what their attention needs, kept from step to step.

As long as the same sequences go on, a step adds one position to each: a handful of array operations for all together.
Only when a sequence comes or goes, or outgrows its place, everything is laid out anew.

Sequences of similar length lie together in groups, so small that what attention gathers of a group stays in the cache
of the core: on the CPU that is two to four times as fast as gathering for all at once, and short sequences are not padded
to the longest.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omega_server.engine.block_tables import BlockTables
from omega_server.engine.kv_cache import KVCache


@dataclass(frozen=True, slots=True)
class Group:
    """Decodes that attend together.

    Attributes:
        start: of them in the packed tokens.
        end: of them in the packed tokens.
        blocks: [(end - start) * B] int64, their blocks, row after row, padded.
        mask: [end - start, 1, 1, B * block_size], 0 where a token may look, else -inf.
    """

    start: int
    end: int
    blocks: Tensor
    mask: Tensor


class Decodes:
    """The layout of the last step's decodes, brought forward to the next.

    Attributes:
        order: [n] int64, which of the sequences stands at each packed token: they are sorted by length.
        places: [n] int64, at which packed token each of the sequences stands: the inverse.
        lengths: [n] int64, with the newest token, in that order.
        slots: [n] int64, where their tokens are written in the cache, in that order.
        groups: all of them, in that order.
    """

    def __init__(self, cache: KVCache, tables: BlockTables, group_blocks: int) -> None:
        """Begin without sequences.

        Args:
            cache: whose blocks they have.
            tables: their rows.
            group_blocks: most blocks of a group, padding included; one sequence always may be a group.
        """
        self._size = cache.block_size
        self._dtype = cache.keys[0].dtype
        self._tables = tables
        self._group_blocks = group_blocks
        self._given: list[int] = []
        self._lengths = np.empty(0, dtype=np.int64)
        self._arrange(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))

    def update(self, rows: list[int], lengths: list[int]) -> None:
        """Take over what the sequences are now.

        Args:
            rows: of the sequences in the block tables, which are up to date.
            lengths: of the sequences, with the token that is computed now.
        """
        now = np.array(lengths, dtype=np.int64)
        if rows != self._given or self._rewritten != self._tables.rewritten or not self._fits(now):
            self._given = rows
            self._arrange(np.array(rows, dtype=np.int64), now)
        self._lengths = now
        self.lengths = now[self.order]
        newest = self.lengths - 1
        block, place = np.divmod(newest, self._size)
        numbers = self._tables.array[self._rows, block]
        self._blocks[self._offsets + block] = numbers
        self._mask[self._index, torch.from_numpy(newest)] = 0
        self.slots = numbers * self._size + place

    def _fits(self, now: np.ndarray) -> bool:
        return bool((now == self._lengths + 1).all() and (now[self.order] <= self._room).all())

    def _arrange(self, rows: np.ndarray, lengths: np.ndarray) -> None:
        self._rewritten = self._tables.rewritten
        self.order = np.argsort(lengths, kind="stable")
        self.places = torch.from_numpy(np.argsort(self.order))
        self._rows = rows[self.order]
        lengths = lengths[self.order]
        widths = -(-lengths // self._size)
        bounds = _bounds(widths.tolist(), self._group_blocks)
        counts = np.array([end - start for start, end in bounds], dtype=np.int64)
        padded = np.repeat([widths[end - 1] for _, end in bounds], counts).astype(np.int64)
        self._room = padded * self._size
        self._offsets = np.cumsum(padded) - padded
        parts = [self._tables.array[self._rows[start:end], : padded[start]].ravel() for start, end in bounds]
        self._blocks = np.concatenate([np.empty(0, dtype=np.int64), *parts])
        self._index = torch.arange(len(rows))
        hidden = torch.arange(int(self._room.max(initial=0))) >= torch.from_numpy(lengths)[:, None]
        self._mask = torch.zeros(hidden.shape, dtype=self._dtype).masked_fill_(hidden, -torch.inf)
        ends = np.cumsum(padded)
        blocks = torch.from_numpy(self._blocks)
        self.groups = tuple(
            Group(
                start=start,
                end=end,
                blocks=blocks[self._offsets[start] : ends[end - 1]],
                mask=self._mask[start:end, None, None, : self._room[start]],
            )
            for start, end in bounds
        )


def _bounds(widths: list[int], limit: int) -> list[tuple[int, int]]:
    """Cut what is sorted by width into runs of at most `limit` blocks, if all of a run are padded to its last."""
    bounds = []
    start = 0
    for end, width in enumerate(widths):
        if end > start and (end + 1 - start) * width > limit:
            bounds.append((start, end))
            start = end
    return [*bounds, (start, len(widths))] if widths else []
