"""Pixels in memory that two processes share."""

from pathlib import Path

import torch

from omega_server.engine import pixels
from omega_server.engine.request import Medium


def descriptors():
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_pixels_arrive_as_they_were():
    """Several media in one descriptor come out equal, and no descriptor is left open."""
    before = descriptors()
    media = [
        Medium("image", torch.randn(8, 6), (1, 2, 4), b"a"),
        Medium("video", torch.randn(4, 6), (1, 2, 2), b"b"),
    ]
    arrived = pixels.attach(pixels.headers(media), pixels.share(media))
    for sent, got in zip(media, arrived, strict=True):
        assert torch.equal(sent.pixels, got.pixels)
        assert (sent.kind, sent.grid, sent.key) == (got.kind, got.grid, got.key)
    del arrived, got
    assert descriptors() == before
