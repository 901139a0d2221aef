"""A picture: its pixels, and how closely to look at it."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """How large a request wants the model to see a picture, in place of the checkpoint's own bounds.

    Attributes:
        min_pixels: width times height to scale up to; None leaves it to the checkpoint.
        max_pixels: width times height to scale down to; None leaves it to the checkpoint.
        max_size: longer side that scaling up never exceeds, in pixels.
    """

    min_pixels: int | None
    max_pixels: int | None
    max_size: int


@dataclass(frozen=True)
class PictureHeader:
    """A picture without its pixels.

    Attributes:
        width: in pixels.
        height: in pixels.
        bounds: what the request wants; None leaves all to the checkpoint.
    """

    width: int
    height: int
    bounds: Bounds | None = None


@dataclass(frozen=True)
class Picture:
    """Pixels.

    Attributes:
        width: in pixels.
        height: in pixels.
        rgb: width * height * 3 bytes, row by row from the top left.
        bounds: how large the model should see it.
    """

    width: int
    height: int
    rgb: bytes
    bounds: Bounds | None = None

    @property
    def header(self) -> PictureHeader:
        """It without its pixels."""
        return PictureHeader(self.width, self.height, self.bounds)

    def key(self, salt: bytes) -> bytes:
        """A hash of all that it is: equal keys mean equal pixels, seen in equal size, under an equal salt. 32 bytes."""
        # Size and mode belong to the content: 30 x 100 and 100 x 30 can have the same bytes.
        content = hashlib.sha256(f"{len(salt)}|RGB|{self.header}|".encode())
        content.update(salt)
        content.update(self.rgb)
        return content.digest()
