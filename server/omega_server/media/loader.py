"""The pictures of one request, fetched and decoded side by side."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from omega_schema.resource import Images
from omega_server.media.decode import Limits
from omega_server.media.errors import MediaError
from omega_server.media.fetch import a_picture, fetch
from omega_server.media.picture import Bounds, Picture
from omega_server.media.pool import DecodePool

LOW_DETAIL = 512
"""Longer side of a picture of detail "low", in pixels, as OpenAI has it."""


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


class Loader:
    """Turns sources into pictures."""

    def __init__(self) -> None:
        self._pool = DecodePool(min(4, os.cpu_count() or 1))

    async def load(self, sources: Sequence[Source], images: Images) -> list[Picture]:
        """All pictures of a request, in its order.

        Raises:
            MediaError: of the first picture that failed; the others are given up.
        """
        tasks = [asyncio.create_task(self._load(source, images)) for source in sources]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """End the decoding processes."""
        await self._pool.close()

    async def _load(self, source: Source, images: Images) -> Picture:
        limits = Limits(images.max_pixels, source.max_size(images), images.max_bytes.bytes)
        try:
            encoded = await fetch(source.address, a_picture(images), bare=source.bare)
            return replace(await self._pool.decode(encoded, limits), bounds=source.bounds(images))
        except MediaError as error:
            error.param = source.param
            raise
