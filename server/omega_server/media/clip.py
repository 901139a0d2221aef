"""What is taken from a video: which frames, how large, and these frames."""

import hashlib
import math
from dataclasses import dataclass

MAX_TAKEN_PIXELS = 1 << 26
"""Width times height times frames of what is taken: 192 MiB. Qwen3-VL itself looks at less than half as many."""


@dataclass(frozen=True)
class VideoDefaults:
    """Which frames a checkpoint takes when a request says nothing.

    Attributes:
        fps: frames for each second.
        min_frames: fewest of a video that has as many.
        max_frames: most of any video.
        unit: side of what becomes one token, in pixels.
    """

    fps: float
    min_frames: int
    max_frames: int
    unit: int


@dataclass(frozen=True)
class ClipHeader:
    """A clip without its pixels.

    Attributes:
        width: in pixels.
        height: in pixels.
        indices: which frames of the video they are, from 0, ascending. One that is there twice stands for a pair.
        total: frames that the video has.
        fps: frames of the video in each second, so that frame i is shown at i / fps seconds.
        exact: whether the model sees the frames in this very size.
    """

    width: int
    height: int
    indices: tuple[int, ...]
    total: int
    fps: float
    exact: bool = False


@dataclass(frozen=True)
class Clip:
    """Frames of a video, and when they are shown.

    Attributes:
        width: in pixels.
        height: in pixels.
        rgb: width * height * 3 bytes for each frame, row by row from the top left.
        indices: which frames of the video they are, from 0, ascending. One that is there twice stands for a pair.
        total: frames that the video has.
        fps: frames of the video in each second, so that frame i is shown at i / fps seconds.
        exact: whether the model sees the frames in this very size.
    """

    width: int
    height: int
    rgb: bytes
    indices: tuple[int, ...]
    total: int
    fps: float
    exact: bool = False

    @property
    def header(self) -> ClipHeader:
        """It without its pixels."""
        return ClipHeader(self.width, self.height, self.indices, self.total, self.fps, self.exact)

    def key(self, salt: bytes) -> bytes:
        """A hash of its frames: equal keys mean equal pixels under an equal salt. 32 bytes.

        When they are shown is no part of it: that stands in the prompt's text.
        """
        frames = len(self.indices)
        content = hashlib.sha256(f"{len(salt)}|RGB|{frames} x {self.width}x{self.height}|{self.exact}|".encode())
        content.update(salt)
        content.update(self.rgb)
        return content.digest()


@dataclass(frozen=True)
class VideoLimits:
    """What a video may be.

    Attributes:
        max_bytes: of the file.
        max_seconds: of its length.
    """

    max_bytes: int
    max_seconds: int


@dataclass(frozen=True)
class Choice:
    """Which frames are taken, and how large.

    Attributes:
        fps: frames for each second, unless their number is given.
        count: their number; a video that has fewer gives all that it has.
        min_frames: fewest that `fps` leads to.
        max_frames: most that `fps` leads to.
        max_size: longer side, in pixels; larger frames are scaled down.
        max_pixels: width times height of a frame, if that is asked for.
        total_pixels: width times height times frames, if that is asked for. At least two times `unit` squared.
        unit: side of what the model sees as one token, in pixels. Where pixels are asked for, sides are multiples of it.
    """

    fps: float
    count: int | None
    min_frames: int
    max_frames: int
    max_size: int
    max_pixels: int | None = None
    total_pixels: int | None = None
    unit: int = 32

    def indices(self, total: int, fps: float) -> list[int]:
        """Which frames of a video are taken: evenly spread, the first and the last among them.

        Args:
            total: frames that it has.
            fps: frames that it has in each second.
        """
        count = self.count
        if count is None:
            count = min(max(int(total / fps * self.fps), self.min_frames), self.max_frames)
        if self.total_pixels is not None:
            count = min(count, self.total_pixels // self.unit**2)
        count = max(min(count, total), 1)
        step = (total - 1) / max(count - 1, 1)
        taken = [round(index * step) for index in range(count)]
        return taken if count > 1 else taken * 2  # the model sees pairs

    def size(self, width: int, height: int, count: int) -> tuple[int, int]:
        """Width and height in which that many frames of a video are taken."""
        longer = max(width, height)
        side = min(longer, self.max_size, math.floor(longer * math.sqrt(MAX_TAKEN_PIXELS / count / (width * height))))
        # Rounded up, so that a thin frame does not become thinner than MAX_RATIO.
        width, height = (-(-part * side // longer) for part in (width, height))
        return self._as_asked(width, height, count) if self.exact else (width, height)

    @property
    def exact(self) -> bool:
        """Whether the model sees the frames in this very size; else its own preprocessing may scale them."""
        return self.max_pixels is not None or self.total_pixels is not None

    def _as_asked(self, width: int, height: int, count: int) -> tuple[int, int]:
        asked = [pixels for pixels in (self.max_pixels, self.total_pixels and self.total_pixels // count) if pixels]
        most = max(1, min(asked) // self.unit**2)
        across, down = (max(1, round(side / self.unit)) for side in (width, height))
        if across * down > most:
            scale = math.sqrt(most / (width * height))
            across, down = (max(1, math.floor(side * scale)) for side in (width, height))
            across, down = min(across, most), min(down, most)
        return across * self.unit, down * self.unit
