"""The vision tower in a thread of its own, so that no running answer waits for a picture.

Each content goes through the tower once, several in one call, and what the tower saw is kept, least recently used out
first. The engine looks in between two steps: it takes what is done and shows what it needs next, so a picture whose
request is gone by then is never computed, and one that is being computed is given up after the layer that runs. The thread
runs beside the model because torch holds no lock while it computes.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from omega_server.engine.request import Medium

Seen = dict[bytes, Tensor | Exception]
"""What the tower made of each content, by its key: an embedding, or why there is none."""


class _Abandoned(Exception):  # noqa: N818 - what happened
    """Nobody asks about what the tower looks at any more."""


class Vision:
    """The vision tower and a cache of what it saw. One thread may use it, and it has one of its own.

    An embedding is one tensor [1 + levels, rows, hidden]: what stands at the placeholders, then what is added to
    the hidden states after each of the first `levels` layers of the language model (DeepStack).
    """

    def __init__(self, tower: Any, dtype: torch.dtype, device: torch.device, *, max_bytes: int, patches: int) -> None:
        """Prepare.

        Args:
            tower: of the model.
            dtype: of the embeddings.
            device: of the tower and of the embeddings.
            max_bytes: of the cache.
            patches: most that go through the tower in one call; one medium always may.
        """
        self._tower = tower
        self._dtype = dtype
        self._device = device
        self._max_bytes = max_bytes
        self._patches = patches
        self._thread = ThreadPoolExecutor(1, "vision")
        self._threads = torch.get_num_threads()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._call: Future[Seen] | None = None
        self._shown: tuple[bytes, ...] = ()
        self._abandoned = threading.Event()
        self._moved = 0.0
        self._cache: OrderedDict[bytes, Tensor] = OrderedDict()
        self.nbytes = 0
        self.runs = 0
        self.queries = 0
        self.hits = 0

    @property
    def busy(self) -> bool:
        """Whether the tower computes, or has something to take."""
        return self._call is not None

    @property
    def still_seconds(self) -> float:
        """For how long the tower has been in the same layer; 0 when it does nothing. Any thread may ask."""
        return 0.0 if self._call is None or self._call.done() else time.monotonic() - self._moved

    def find(self, key: bytes) -> Tensor | None:
        """The embedding of a content, if it is in the cache."""
        embedding = self._cache.get(key)
        if embedding is not None:
            self._cache.move_to_end(key)
        return embedding

    def count(self, *, hit: bool) -> None:
        """A sequence got what it needed: at once, or after the tower had computed it."""
        self.queries += 1
        self.hits += hit

    def take(self) -> Seen:
        """What the tower has done since the last time. Each thing comes once; it may not stay in the cache."""
        if self._call is None or not self._call.done():
            return {}
        seen = self._call.result()
        self._call = None
        for key, embedding in seen.items():
            if isinstance(embedding, Tensor):
                if self._stream is not None:  # the memory must not go back to the tower while the model reads it
                    embedding.record_stream(torch.cuda.current_stream(self._device))
                self._keep(key, embedding)
        return seen

    def show(self, wanted: Iterable[Medium], *, share: float) -> None:
        """Let the tower begin with media that are needed, the first first, unless it is at work.

        Args:
            wanted: what is needed now and was not found; equal ones are computed once.
            share: of the CPU's threads that the tower may use.
        """
        wanted = list(wanted)
        if self._call is not None:
            if any(medium.key in self._shown for medium in wanted):
                self._abandoned.clear()
            return
        batch: dict[bytes, Medium] = {}
        patches = 0
        for medium in wanted:
            if medium.key not in batch:
                patches += len(medium.pixels)
                if batch and patches > self._patches:
                    break
                batch[medium.key] = medium
        if batch:
            self._abandoned.clear()
            self._shown = tuple(batch)
            self._moved = time.monotonic()
            self._call = self._thread.submit(self._see, list(batch.values()), max(1, int(self._threads * share)))

    def release(self, wanted: Container[bytes]) -> None:
        """Give up what the tower looks at, unless some of it is wanted, by its key. It ends when the tower's layer does."""
        if self._call is not None and not any(key in wanted for key in self._shown):
            self._abandoned.set()

    def wait(self, seconds: float) -> None:
        """Wait until the tower has something to take, or until the time is over."""
        if self._call is not None:
            wait([self._call], seconds)

    def _see(self, media: list[Medium], threads: int) -> Seen:
        """Runs in the tower's thread."""
        if self._device.type == "cpu" and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)  # of this thread alone
        try:
            with self._between_layers():
                return dict(zip([m.key for m in media], self._compute(media), strict=True))
        except _Abandoned:
            return {}
        except Exception as error:  # noqa: BLE001 - whoever needs it will hear of it
            if len(media) == 1:
                return {media[0].key: error}
        seen: Seen = {}
        for medium in media:  # one of them is to blame; the others are fine
            seen |= self._see([medium], threads)
        return seen

    @contextmanager
    def _between_layers(self) -> Iterator[None]:
        """Between two layers of the tower, note that it goes on, and give up what nobody wants."""

        def look(*_: Any) -> None:
            self._moved = time.monotonic()
            if self._abandoned.is_set():
                raise _Abandoned

        hooks = [block.register_forward_pre_hook(look) for block in self._tower.blocks]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _compute(self, media: list[Medium]) -> list[Tensor]:
        self.runs += 1
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            pixels = torch.cat([m.pixels for m in media]) if len(media) > 1 else media[0].pixels
            grid = torch.tensor([m.grid for m in media], device=self._device)
            seen = self._tower(pixels.to(self._device, self._tower.dtype), grid_thw=grid, return_dict=True)
            merge = self._tower.spatial_merge_size**2
            rows = [m.grid[0] * m.grid[1] * m.grid[2] // merge for m in media]
            levels = [seen.pooler_output, *seen.deepstack_features]
            # Stacked for each medium: a view would keep the whole batch in memory for as long as one of it is cached.
            embeddings = [
                torch.stack(parts).to(self._dtype)
                for parts in zip(*(level.split(rows) for level in levels), strict=True)
            ]
        if self._stream is not None:
            self._stream.synchronize()  # so that whoever takes them need not wait for this stream
        return embeddings

    def _keep(self, key: bytes, embedding: Tensor) -> None:
        if key in self._cache or embedding.nbytes > self._max_bytes:
            return
        self._cache[key] = embedding
        self.nbytes += embedding.nbytes
        while self.nbytes > self._max_bytes:
            _, oldest = self._cache.popitem(last=False)
            self.nbytes -= oldest.nbytes
