"""The pictures and videos of one request, fetched and decoded: pictures side by side, videos one after the other.

Downloads are kept as HTTP permits, and what was decoded by what its file holds, each for the tenant who sent it: the second turn
about a picture or video decodes nothing.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cachetools import LRUCache

from omega_schema.resource import Images, Video
from omega_server.media.clip import Choice, Clip, VideoDefaults, VideoLimits
from omega_server.media.decode import Limits
from omega_server.media.downloads import Downloads
from omega_server.media.errors import MediaError
from omega_server.media.fetch import Encoded, Memory, a_picture, a_video, fetch
from omega_server.media.picture import Bounds, Picture
from omega_server.media.pool import DecodePool

LOW_DETAIL = 512
"""Longer side of a picture of detail "low", in pixels, as OpenAI has it."""
VIDEOS = 8
"""Videos that are fetched and decoded at once, of all requests: so many files of video.maxBytes are in memory at most."""
DECODED_BYTES = 128 << 20
"""Bytes of decoded pictures and clips that are kept."""
MAX_SHARE = 2
"""One that is more than this fraction of all is not kept: it would push out everything else."""


@dataclass(frozen=True)
class Source:
    """A picture that a request asks for.

    Attributes:
        address: http(s) address, data: URI or, if `bare`, base64.
        param: where it stands in the request.
        low_detail: whether a coarse look is enough.
        bare: whether text without a scheme is base64.
        min_pixels: width times height that the model should see at least, if that is asked for.
        max_pixels: width times height that the model should see at most, if that is asked for.
    """

    address: str
    param: str
    low_detail: bool
    bare: bool
    min_pixels: int | None = None
    max_pixels: int | None = None

    def max_size(self, images: Images) -> int:
        """Longer side of the picture as the model may see it, in pixels."""
        return min(images.max_size, LOW_DETAIL) if self.low_detail else images.max_size

    def bounds(self, images: Images) -> Bounds | None:
        """What the request wants of its size."""
        if self.min_pixels is None and self.max_pixels is None:
            return None
        return Bounds(self.min_pixels, self.max_pixels, self.max_size(images))


@dataclass(frozen=True)
class VideoSource:
    """A video that a request asks for. What it leaves open is as the checkpoint has it.

    Attributes:
        address: http(s) address or data: URI.
        param: where it stands in the request.
        fps: frames to take for each second.
        count: frames to take.
        max_frames: most frames to take.
        max_pixels: width times height that the model should see of a frame at most.
        total_pixels: width times height times frames that the model should see at most.
    """

    address: str
    param: str
    fps: float | None = None
    count: int | None = None
    max_frames: int | None = None
    max_pixels: int | None = None
    total_pixels: int | None = None

    def choice(self, video: Video, images: Images, defaults: VideoDefaults) -> Choice:
        """Which of its frames are taken."""
        return Choice(
            fps=self.fps or defaults.fps,
            count=self.count,
            min_frames=defaults.min_frames,
            max_frames=min(self.max_frames or defaults.max_frames, video.max_frames),
            max_size=images.max_size,
            max_pixels=self.max_pixels,
            total_pixels=self.total_pixels,
            unit=defaults.unit,
        )


class Times(Protocol):
    """What is told how long things took, in seconds."""

    def downloaded(self, seconds: float, size: int) -> None:
        """A file of `size` bytes was fetched from its address."""

    def decoded(self, seconds: float) -> None:
        """A picture or video was decoded, with the wait for a decoding process."""


class Loader:
    """Turns sources into pictures and clips."""

    def __init__(self, times: Times) -> None:
        self._times = times
        self._pool = DecodePool(min(4, os.cpu_count() or 1))
        self._videos = asyncio.Semaphore(VIDEOS)
        self._downloads = Downloads()
        self._kept: LRUCache[bytes, Picture | Clip] = LRUCache(DECODED_BYTES, getsizeof=lambda seen: len(seen.rgb))

    async def start(self) -> None:
        """Start the decoding processes, so that the first requests need not.

        Raises:
            OSError: one cannot be started.
        """
        await self._pool.start()

    async def load(
        self,
        sources: Sequence[Source | VideoSource],
        images: Images,
        video: Video,
        defaults: VideoDefaults,
        tenant: bytes = b"",
    ) -> list[Picture | Clip]:
        """All pictures and videos of a request, in its order.

        Args:
            sources: what it asks for.
            images: limits and policy.
            video: limits.
            defaults: how the checkpoint treats videos.
            tenant: who asks. What is kept for one is never found by another.

        Raises:
            MediaError: of the first that failed; the others are given up.
        """
        memory = Memory(self._downloads, tenant)
        one = asyncio.Lock()  # videos are large: their files are not all in memory at once

        async def load(source: Source | VideoSource) -> Picture | Clip:
            try:
                if isinstance(source, Source):
                    return await self._picture(source, images, memory)
                async with one, self._videos:
                    return await self._clip(source, images, video, defaults, memory)
            except MediaError as error:
                error.param = source.param
                raise

        tasks = [asyncio.create_task(load(source)) for source in sources]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """End the decoding processes."""
        await self._pool.close()

    async def _picture(self, source: Source, images: Images, memory: Memory) -> Picture:
        limits = Limits(images.max_pixels, source.max_size(images), images.max_bytes.bytes)
        encoded = await self._fetched(fetch(source.address, a_picture(images), memory, bare=source.bare))
        picture = await self._seen(encoded, limits, memory.tenant, lambda: self._pool.decode(encoded, limits))
        assert isinstance(picture, Picture)
        return replace(picture, bounds=source.bounds(images))

    async def _clip(
        self, source: VideoSource, images: Images, video: Video, defaults: VideoDefaults, memory: Memory
    ) -> Clip:
        encoded = await self._fetched(fetch(source.address, a_video(video, images), memory, bare=False))
        limits = VideoLimits(video.max_bytes.bytes, video.max_seconds)
        choice = source.choice(video, images, defaults)
        how = (limits, choice)
        clip = await self._seen(encoded, how, memory.tenant, lambda: self._pool.clip(encoded, limits, choice))
        assert isinstance(clip, Clip)
        return clip

    async def _seen(
        self, encoded: Encoded, how: object, tenant: bytes, decode: Callable[[], Awaitable[Picture | Clip]]
    ) -> Picture | Clip:
        """What is in a file, kept or decoded now."""
        key = await asyncio.to_thread(_key, encoded, how, tenant)
        seen = self._kept.get(key)
        if seen is None:
            began = time.monotonic()
            seen = await decode()
            self._times.decoded(time.monotonic() - began)
            if len(seen.rgb) <= self._kept.maxsize // MAX_SHARE:
                self._kept[key] = seen
        return seen

    async def _fetched(self, file: Awaitable[Encoded]) -> Encoded:
        began = time.monotonic()
        encoded = await file
        if encoded.downloaded:
            self._times.downloaded(time.monotonic() - began, encoded.size)
        return encoded


def _key(encoded: Encoded, how: object, tenant: bytes) -> bytes:
    """A hash of everything that a decoded picture or clip depends on, and of who asks. 32 bytes.

    Args:
        encoded: the file.
        how: it is decoded: limits, and a clip's choice.
        tenant: who asks.
    """
    key = hashlib.sha256(f"{len(tenant)}|{encoded.base64}|{how}|".encode())
    key.update(tenant)
    for piece in encoded.pieces:
        key.update(piece)
    return key.digest()
