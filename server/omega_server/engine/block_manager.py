"""Who owns which block of the KV cache: reference counts, and the prefix cache over blocks that nobody uses now.

A block holds the keys and values of `block_size` consecutive tokens. Blocks are only numbers here. A full block can be
published under a hash of everything that it depends on (sequence.py); a later sequence with the same hash shares it.
When its last owner releases it, a published block stays as a prefix-cache entry until its room is needed, least
recently used first.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class BlockManager:
    """A pool of `total` blocks."""

    def __init__(self, total: int, block_size: int) -> None:
        if total < 1 or block_size < 1:
            raise ValueError("a KV cache needs at least one block of at least one token")
        self.total = total
        self.block_size = block_size
        self._references = [0] * total
        self._free = list(range(total - 1, -1, -1))  # a stack, so that memory that was never used stays untouched
        self._idle: OrderedDict[int, None] = OrderedDict()  # published, owned by nobody; the oldest first
        self._block_of: dict[bytes, int] = {}
        self._hash_of: dict[int, bytes] = {}

    @property
    def available(self) -> int:
        """Blocks that `allocate` can hand out now."""
        return len(self._free) + len(self._idle)

    @property
    def used(self) -> int:
        """Blocks that sequences own now."""
        return self.total - self.available

    def blocks_for(self, tokens: int) -> int:
        """Blocks that so many tokens need."""
        return -(-tokens // self.block_size)

    def match(self, hashes: Iterable[bytes]) -> list[int]:
        """The published blocks of the longest known prefix of `hashes`. They are not owned yet."""
        found = []
        for digest in hashes:
            block = self._block_of.get(digest)
            if block is None:
                break
            found.append(block)
        return found

    def can_allocate(self, count: int, shared: Sequence[int] = ()) -> bool:
        """Whether `acquire(shared)` leaves room for `allocate(count)`."""
        return count <= self.available - sum(block in self._idle for block in shared)

    def acquire(self, blocks: Iterable[int]) -> None:
        """Become one more owner of published blocks, as `match` found them."""
        for block in blocks:
            self._idle.pop(block, None)
            self._references[block] += 1

    def allocate(self, count: int) -> list[int]:
        """Own `count` new blocks; forgets prefixes for it, least recently used first. There must be room."""
        assert count <= self.available, "ask can_allocate first"
        blocks = []
        for _ in range(count):
            if self._free:
                block = self._free.pop()
            else:
                block, _ = self._idle.popitem(last=False)
                del self._block_of[self._hash_of.pop(block)]
            self._references[block] = 1
            blocks.append(block)
        return blocks

    def release(self, blocks: Sequence[int]) -> None:
        """Give up one ownership of each block."""
        for block in reversed(blocks):  # the end of a prefix is worth less than its beginning
            self._references[block] -= 1
            assert self._references[block] >= 0, "a block was released more often than it was owned"
            if self._references[block] == 0:
                if block in self._hash_of:
                    self._idle[block] = None
                else:
                    self._free.append(block)

    def publish(self, block: int, digest: bytes) -> None:
        """Let later sequences share a full block. Of two equal blocks the first stays the shared one."""
        if block not in self._hash_of and digest not in self._block_of:
            self._block_of[digest] = block
            self._hash_of[block] = digest

    def exclusive(self, blocks: Iterable[int]) -> list[int]:
        """Those of the blocks that have one owner only."""
        return [block for block in blocks if self._references[block] == 1]

    def forget(self, blocks: Iterable[int]) -> None:
        """Take owned blocks out of the prefix cache, because what they hold cannot be trusted."""
        for block in blocks:
            digest = self._hash_of.pop(block, None)
            if digest is not None:
                del self._block_of[digest]
