"""Small videos for tests and tools, made with PyAV. Frame i of n is red by the share i / n, with a green bar that moves."""

import io
from fractions import Fraction
from typing import Any

import av
from PIL import Image

CODECS = {"mp4": ("mpeg4", "libx264"), "webm": ("libvpx", "libvpx-vp9")}
"""What is tried in each container."""


def film(
    frames: int = 50,
    *,
    size: tuple[int, int] = (96, 64),
    rate: int | Fraction = 25,
    container: str = "mp4",
    codec: str | None = None,
    keyframes: int = 12,
) -> bytes:
    """A video file.

    Args:
        frames: their number.
        size: width and height in pixels, even.
        rate: frames in each second.
        container: as FFmpeg calls it.
        codec: as FFmpeg calls it; the first that is usual in the container.
        keyframes: frames between two that need no other.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec or CODECS[container][0], rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = keyframes
        stream.codec_context.thread_count = 1
        for index in range(frames):
            output.mux(stream.encode(av.VideoFrame.from_image(_frame(index, frames, size))))
        output.mux(stream.encode(None))
    return file.getvalue()


def _frame(index: int, frames: int, size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", size, (255 * index // frames, 0, 0))
    bar = Image.new("RGB", (max(2, size[0] // 8), size[1]), (0, 200, 0))
    image.paste(bar, (index * 4 % size[0], 0))
    return image
