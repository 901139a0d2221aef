"""Pixels between processes: one anonymous file in memory for each prompt, mapped by both sides, never copied through a pipe.

It has no name, needs no room in /dev/shm, and is gone when both sides are, however they end.
"""

import mmap
import os
from collections.abc import Sequence

import torch

from omega_server.engine.messages import MediumHeader
from omega_server.engine.request import Medium


def headers(media: Sequence[Medium]) -> tuple[MediumHeader, ...]:
    """What the other side must know beside the pixels."""
    return tuple(MediumHeader(m.kind, m.grid, m.key, (m.pixels.shape[0], m.pixels.shape[1])) for m in media)


def share(media: Sequence[Medium]) -> int:
    """Copy the pixels of media into shared memory; returns its descriptor, which the caller closes."""
    size = sum(m.pixels.nbytes for m in media)
    descriptor = os.memfd_create("omega-pixels", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, size)
        # The tensors keep the map, and the map is closed with the last of them.
        whole = torch.frombuffer(mmap.mmap(descriptor, size), dtype=torch.float32)
        offset = 0
        for medium in media:
            count = medium.pixels.numel()
            whole[offset : offset + count] = medium.pixels.flatten()
            offset += count
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def absent(described: Sequence[MediumHeader]) -> tuple[Medium, ...]:
    """Media whose pixels stay where they are."""
    return tuple(_medium(header, torch.empty(header.shape, device="meta")) for header in described)


def attach(described: Sequence[MediumHeader], descriptor: int) -> tuple[Medium, ...]:
    """Media whose pixels lie in shared memory. Closes the descriptor; the memory lives as long as the tensors."""
    counts = [rows * features for rows, features in (h.shape for h in described)]
    try:
        whole = torch.frombuffer(mmap.mmap(descriptor, sum(counts) * 4), dtype=torch.float32)
    finally:
        os.close(descriptor)
    return tuple(_medium(h, part.view(h.shape)) for h, part in zip(described, whole.split(counts), strict=True))


def _medium(header: MediumHeader, tensor: torch.Tensor) -> Medium:
    return Medium("video" if header.kind == "video" else "image", tensor, header.grid, header.key)
