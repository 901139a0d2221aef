"""Small videos for tests and tools, and what is none, made with PyAV. Frame i of n is red by the share i / n, with a green bar that moves."""

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


def sound() -> bytes:
    """An MP4 with sound alone."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream: Any = output.add_stream("aac", rate=16000)
        silence: Any = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        silence.planes[0].update(bytes(4096))
        silence.sample_rate = 16000
        output.mux(stream.encode(silence))
        output.mux(stream.encode(None))
    return file.getvalue()


def crowd(frames: int) -> bytes:
    """An MP4 of ten seconds with very many frames, all of them the same."""
    file = io.BytesIO()
    one: Any = av.open(io.BytesIO(film(1, size=(16, 16))))
    with one, av.open(file, "w", format="mp4") as output:
        (packet, *_) = one.demux(video=0)
        stream = output.add_stream_from_template(one.streams.video[0])
        data = bytes(packet)
        for index in range(frames):
            again = av.Packet(data)
            again.stream, again.time_base = stream, Fraction(10, frames)
            again.pts = again.dts = index
            again.is_keyframe = True
            output.mux(again)
    return file.getvalue()
