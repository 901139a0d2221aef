"""The tensors of the KV cache: for each layer, the keys and values of all blocks."""

import math
import mmap

import torch
from torch import Tensor


class KVCache:
    """Keys and values, [blocks + 1, block_size, heads, head_dim] for each layer.

    The last block is never owned and stays zero: it pads block tables. Padding is masked, but a mask does not stop
    a not-a-number, and another sequence's block could hold one.
    """

    def __init__(
        self,
        *,
        layers: int,
        blocks: int,
        block_size: int,
        heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (blocks + 1, block_size, heads, head_dim)
        self.keys = [_zeros(shape, dtype, device) for _ in range(layers)]
        self.values = [_zeros(shape, dtype, device) for _ in range(layers)]
        self.block_size = block_size
        self.padding = blocks
        # Kept: fresh memory for each gathering costs the CPU more than the gathering.
        self._gathered = tuple(self.keys[0].new_empty(0, *shape[1:]) for _ in range(2))

    @property
    def block_nbytes(self) -> int:
        """Bytes of one block in one layer, keys and values."""
        return 2 * self.keys[0][0].nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks, used or not."""
        return sum(t.nbytes for t in self.keys + self.values)

    def write(self, layer: int, slots: Tensor, key: Tensor, value: Tensor) -> None:
        """Store new tokens.

        Args:
            layer: index of the layer.
            slots: [T] int64, block * block_size + place in the block.
            key: [T, heads, head_dim]
            value: [T, heads, head_dim]
        """
        # index_copy_ checks the shapes; an assignment by index would broadcast a wrong number of heads.
        self.keys[layer].flatten(0, 1).index_copy_(0, slots, key)
        self.values[layer].flatten(0, 1).index_copy_(0, slots, value)

    def read(self, layer: int, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Gather whole blocks.

        Args:
            layer: index of the layer.
            blocks: [B] int64, block numbers.

        Returns:
            keys and values, [B * block_size, heads, head_dim] each, in memory that the next call writes again.
        """
        count = len(blocks)
        if count > len(self._gathered[0]):
            self._gathered = tuple(self.keys[0].new_empty(count, *self.keys[0].shape[1:]) for _ in range(2))
        # index_select copies whole blocks; indexing copies element by element, at a quarter of the speed on the CPU.
        keys, values = (
            torch.index_select(cache[layer], 0, blocks, out=gathered[:count]).flatten(0, 1)
            for cache, gathered in zip((self.keys, self.values), self._gathered, strict=True)
        )
        return keys, values

    def scrub(self, blocks: list[int]) -> None:
        """Zero blocks that may hold not-a-numbers, before anybody else gets them."""
        if blocks:
            index = torch.tensor(blocks, device=self.keys[0].device)
            for tensor in self.keys + self.values:
                tensor.index_fill_(0, index, 0)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of zeros that, on the CPU, takes no memory where it was never written."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # torch.zeros writes every page; the operating system's own zeros cost nothing until then.
    pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


def bytes_per_block(*, layers: int, block_size: int, heads: int, head_dim: int, dtype: torch.dtype) -> int:
    """Bytes of one block in all layers, keys and values."""
    return 2 * layers * block_size * heads * head_dim * dtype.itemsize
