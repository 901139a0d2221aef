"""Pixels in memory that processes share."""

from multiprocessing import Pipe
from pathlib import Path

import torch

from omega_server.engine.attach import attach
from omega_server.engine.memory_file import MemoryFile
from omega_server.engine.pixels import share
from omega_server.engine.request import Medium, Prompt


def descriptors():
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_pixels_arrive_as_they_were():
    """Several media in one file come out equal at the other end of a pipe, twice, and no descriptor is left open."""
    before = descriptors()
    media = (
        Medium("image", torch.randn(8, 6), (1, 2, 4), b"a"),
        Medium("video", torch.randn(6, 4).T, (1, 2, 2), b"b"),
    )
    shared = share(Prompt((1, 2, 3), media))
    assert (shared.token_ids, [header.shape for header in shared.media]) == ((1, 2, 3), [(8, 6), (4, 6)])
    for _ in range(2):
        ours, theirs = Pipe()
        shared.pixels.send(ours)
        arrived = attach(shared.media, MemoryFile.receive(theirs))
        for sent, got in zip(media, arrived, strict=True):
            assert torch.equal(sent.pixels, got.pixels)
            assert (sent.kind, sent.grid, sent.key) == (got.kind, got.grid, got.key)
    del arrived, got, shared, ours, theirs
    assert descriptors() == before


def test_a_prompt_of_text_needs_no_memory():
    """Without media there is no file."""
    assert share(Prompt((1, 2))).pixels is None
