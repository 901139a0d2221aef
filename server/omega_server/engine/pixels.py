"""Prompts between processes. Pixels are written once, by who cuts pictures into patches, and mapped by the engine.

What lies between, the server's own process, holds and passes on an open file, and needs no torch.
"""

from dataclasses import dataclass

from omega_server.engine.memory_file import MemoryFile
from omega_server.engine.request import Medium, MediumHeader, Prompt


@dataclass(frozen=True, eq=False)
class SharedPrompt:
    """A prompt whose pixels lie in memory that processes can share.

    Attributes:
        token_ids: with one placeholder token for each merged patch of each medium.
        media: in the order of their placeholders, without their pixels.
        pixels: float32, of all media one after the other; None if there are none.
        salt: of whoever asks; prompts with different salts share nothing that was computed.
    """

    token_ids: tuple[int, ...]
    media: tuple[MediumHeader, ...] = ()
    pixels: MemoryFile | None = None
    salt: bytes = b""


def share(prompt: Prompt) -> SharedPrompt:
    """Copy the pixels of a prompt into shared memory."""
    headers = tuple(map(header, prompt.media))
    file = MemoryFile.of(map(pixels, prompt.media)) if headers else None
    return SharedPrompt(prompt.token_ids, headers, file, prompt.salt)


def header(medium: Medium) -> MediumHeader:
    """A medium without its pixels."""
    return MediumHeader(medium.kind, medium.grid, medium.key, (medium.pixels.shape[0], medium.pixels.shape[1]))


def pixels(medium: Medium) -> memoryview:
    """The pixels of a medium, without a copy if they lie in one piece."""
    view: memoryview = medium.pixels.contiguous().numpy().data
    return view
