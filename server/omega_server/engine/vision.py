"""Each picture through the vision tower once: many in one call, the results kept by content, least recently used out first."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from omega_server.engine.request import Medium


class Vision:
    """The vision tower and a cache of what it saw.

    An embedding is one tensor [1 + levels, rows, hidden]: what stands at the placeholders, then what is added to
    the hidden states after each of the first `levels` layers of the language model (DeepStack).
    """

    def __init__(self, tower: Any, dtype: torch.dtype, device: torch.device, max_bytes: int) -> None:
        self._tower = tower
        self._dtype = dtype
        self._device = device
        self._max_bytes = max_bytes
        self._cache: OrderedDict[bytes, Tensor] = OrderedDict()
        self.nbytes = 0
        self.hits = 0
        self.runs = 0

    def embed(self, media: Sequence[Medium]) -> list[Tensor]:
        """Embeddings of media, in one call of the tower for all that are not in the cache."""
        found: dict[bytes, Tensor] = {}
        new: dict[bytes, Medium] = {}
        for medium in media:
            if medium.key in self._cache:
                self._cache.move_to_end(medium.key)
                found[medium.key] = self._cache[medium.key]
                self.hits += 1
            else:
                new[medium.key] = medium
        if new:
            for key, embedding in zip(new, self._run(list(new.values())), strict=True):
                found[key] = embedding
                self._keep(key, embedding)
        return [found[medium.key] for medium in media]

    def _run(self, media: list[Medium]) -> list[Tensor]:
        self.runs += 1
        pixels = torch.cat([m.pixels for m in media]) if len(media) > 1 else media[0].pixels
        grid = torch.tensor([m.grid for m in media], device=self._device)
        seen = self._tower(pixels.to(self._device, self._tower.dtype), grid_thw=grid, return_dict=True)
        merge = self._tower.spatial_merge_size**2
        rows = [m.grid[0] * m.grid[1] * m.grid[2] // merge for m in media]
        levels = [seen.pooler_output, *seen.deepstack_features]
        # Stacked for each medium: a view would keep the whole batch in memory for as long as one of it is cached.
        return [
            torch.stack(parts).to(self._dtype) for parts in zip(*(level.split(rows) for level in levels), strict=True)
        ]

    def _keep(self, key: bytes, embedding: Tensor) -> None:
        if embedding.nbytes > self._max_bytes:
            return
        self._cache[key] = embedding
        self.nbytes += embedding.nbytes
        while self.nbytes > self._max_bytes:
            _, oldest = self._cache.popitem(last=False)
            self.nbytes -= oldest.nbytes
