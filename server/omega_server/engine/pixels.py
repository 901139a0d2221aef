"""Prompts between processes. Pixels are written once, by who cuts pictures into patches, and mapped by the engine.

What lies between, the server's own process, holds and passes on an open file, and needs no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from omega_server.engine.memory_file import MemoryFile
from omega_server.engine.request import MediumHeader, Prompt


@dataclass(frozen=True, eq=False)
class SharedPrompt:
    """A prompt whose pixels lie in memory that processes can share.

    Attributes:
        token_ids: with one placeholder token for each merged patch of each medium.
        media: in the order of their placeholders, without their pixels.
        pixels: float32, of all media one after the other; None if there are none.
    """

    token_ids: tuple[int, ...]
    media: tuple[MediumHeader, ...] = ()
    pixels: MemoryFile | None = None


def share(prompt: Prompt) -> SharedPrompt:
    """Copy the pixels of a prompt into shared memory."""
    headers = tuple(MediumHeader(m.kind, m.grid, m.key, (m.pixels.shape[0], m.pixels.shape[1])) for m in prompt.media)
    return SharedPrompt(prompt.token_ids, headers, MemoryFile.of(_bytes(prompt)) if headers else None)


def _bytes(prompt: Prompt) -> Iterator[memoryview]:
    return (medium.pixels.contiguous().numpy().data for medium in prompt.media)
