"""The engine's end of a shared prompt: its pixels as tensors that lie in shared memory."""

from collections.abc import Sequence

import torch

from omega_server.engine.memory_file import MemoryFile
from omega_server.engine.request import Medium, MediumHeader


def attach(headers: Sequence[MediumHeader], file: MemoryFile) -> tuple[Medium, ...]:
    """Media whose pixels lie in a file. The file may be closed; the memory lives as long as the tensors."""
    whole = torch.frombuffer(file.map(), dtype=torch.float32)  # the tensors keep the map
    counts = [rows * features for rows, features in (header.shape for header in headers)]
    return tuple(
        Medium(h.kind, part.view(h.shape), h.grid, h.key) for h, part in zip(headers, whole.split(counts), strict=True)
    )


def absent(headers: Sequence[MediumHeader]) -> tuple[Medium, ...]:
    """Media whose pixels stay where they are."""
    return tuple(Medium(h.kind, torch.empty(h.shape, device="meta"), h.grid, h.key) for h in headers)
