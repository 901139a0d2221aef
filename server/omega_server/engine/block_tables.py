"""Which blocks of the KV cache each sequence has, as one array: a row for each sequence, written only where it grows."""

import numpy as np


class BlockTables:
    """Rows of block numbers.

    Attributes:
        array: [rows, width] int64; beyond a sequence's blocks it holds `padding`.
        rewritten: how often a row got other blocks than it had, instead of more.
    """

    def __init__(self, width: int, padding: int) -> None:
        """Begin without rows.

        Args:
            width: most blocks of a sequence.
            padding: the block that stands where there is none.
        """
        self.array = np.empty((0, width), dtype=np.int64)
        self.rewritten = 0
        self._padding = padding
        self._free: list[int] = []
        self._written: list[tuple[list[int], int]] = []

    def take(self) -> int:
        """A row that nobody has."""
        if not self._free:
            rows, width = self.array.shape
            more = max(rows, 16)
            self.array = np.concatenate([self.array, np.full((more, width), self._padding)])
            self._free = list(range(rows + more - 1, rows - 1, -1))
            self._written += [([], 0)] * more
        return self._free.pop()

    def release(self, row: int) -> None:
        """Give a row back."""
        self.write(row, [])
        self._free.append(row)

    def write(self, row: int, blocks: list[int]) -> None:
        """Bring a row up to date.

        Args:
            row: that was taken.
            blocks: the sequence's own list; the same list has grown at most, a new one means other blocks.
        """
        known, count = self._written[row]
        if blocks is not known:
            self.array[row] = self._padding
            count = 0
            self.rewritten += 1
        if count < len(blocks):
            self.array[row, count : len(blocks)] = blocks[count:]
        self._written[row] = (blocks, len(blocks))
