"""Videos become the frames that Qwen3-VL's processor would take, or a fault with the right name, without much work."""

import base64
import builtins
import io
import os
import struct
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import pytest
from PIL import Image

from films import film, sound
from omega_server.media import video as video_module
from omega_server.media.clip import MAX_TAKEN_PIXELS, Choice, Clip, VideoLimits
from omega_server.media.errors import MediaError
from omega_server.media.video import decode

LIMITS = VideoLimits(max_bytes=1 << 20, max_seconds=60)
CHOICE = Choice(fps=2.0, count=None, min_frames=4, max_frames=768, max_size=1024)


@pytest.fixture(scope="module")
def short() -> bytes:
    """Two seconds."""
    return film()


def fault(data: bytes, limits: VideoLimits = LIMITS, *, as_base64: bool = False) -> str:
    """Code with which a file is refused."""
    with pytest.raises(MediaError) as caught:
        decode(data, limits, CHOICE, base64=as_base64)
    assert "0x" not in str(caught.value)
    return caught.value.code


def images(clip: Clip) -> list[Image.Image]:
    """The frames of a clip."""
    size = clip.width * clip.height * 3
    starts = range(0, len(clip.rgb), size)
    return [Image.frombytes("RGB", (clip.width, clip.height), clip.rgb[start : start + size]) for start in starts]


def red(image: Image.Image) -> int:
    """Of most of a frame's pixels."""
    reds = sorted(image.getchannel("R").tobytes())
    return reds[len(reds) * 3 // 4]


def in_the_file(data: bytes, indices: tuple[int, ...]) -> list[bytes]:
    """RGB of some frames, found by decoding all."""
    with av.open(io.BytesIO(data), "r") as container:
        frames = [frame.to_image().tobytes() for frame in container.decode(video=0)]
    return [frames[index] for index in indices]


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "libx264"), ("mp4", "mpeg4"), ("webm", "libvpx"), ("webm", "libvpx-vp9")],
)
def test_containers_and_codecs(container: str, codec: str) -> None:
    """Each gives the very frames that are at these places in the file, and says how many there are and how fast."""
    data = film(container=container, codec=codec)
    clip = decode(data, LIMITS, CHOICE)
    assert (clip.width, clip.height, clip.total, clip.fps) == (96, 64, 50, 25.0)
    assert clip.indices == (0, 16, 33, 49)
    assert [image.tobytes() for image in images(clip)] == in_the_file(data, clip.indices)
    assert all(
        abs(red(image) - 255 * index // 50) < 12 for image, index in zip(images(clip), clip.indices, strict=True)
    )


@pytest.mark.parametrize(
    ("change", "total", "fps", "expected"),
    [
        ({}, 250, 25.0, 20),
        ({"fps": 0.5}, 250, 25.0, 5),
        ({"fps": 0.1}, 250, 25.0, 4),
        ({"fps": 100.0}, 50, 25.0, 50),
        ({"max_frames": 8}, 250, 25.0, 8),
        ({"count": 7}, 250, 25.0, 7),
        ({"count": 60}, 50, 25.0, 50),
        ({}, 3, 25.0, 3),
        ({}, 250, 30000 / 1001, 16),
    ],
)
def test_how_many_frames(change: dict[str, Any], total: int, fps: float, expected: int) -> None:
    """Their number follows from rate or count, within bounds; they are spread from the first to the last."""
    indices = replace(CHOICE, **change).indices(total, fps)
    assert len(indices) == expected
    assert (indices[0], indices[-1]) == (0, total - 1)
    steps = [later - sooner for sooner, later in pairwise(indices)]
    assert max(steps) - min(steps) <= 1


def test_one_frame_is_a_pair() -> None:
    """The model sees pairs, so a video of one frame has it twice."""
    clip = decode(film(1), LIMITS, CHOICE)
    assert (clip.indices, clip.total) == ((0, 0), 1)
    first, second = images(clip)
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize(
    ("change", "size", "count", "expected"),
    [
        ({}, (640, 480), 8, (640, 480)),
        ({"max_size": 320}, (640, 480), 8, (320, 240)),
        ({"max_pixels": 64 * 64}, (640, 480), 8, (64, 32)),
        ({"max_pixels": 10**6}, (100, 60), 8, (96, 64)),
        ({"max_pixels": 1024 * 9}, (1000, 10), 8, (288, 32)),
        ({"max_pixels": 1}, (640, 480), 8, (32, 32)),
        ({"total_pixels": 8 * 96 * 64}, (640, 480), 8, (64, 64)),
        ({"max_pixels": 10**9, "total_pixels": 10**9}, (640, 480), 8, (640, 480)),
    ],
)
def test_how_large(change: dict[str, Any], size: tuple[int, int], count: int, expected: tuple[int, int]) -> None:
    """Frames are scaled down to what is permitted and to what is asked for, never up."""
    assert replace(CHOICE, **change).size(*size, count) == expected


@pytest.mark.parametrize("size", [(1920, 1080), (64, 4096), (33, 17)])
@pytest.mark.parametrize("count", [2, 100, 768, 16384])
def test_what_is_taken_is_bounded(size: tuple[int, int], count: int) -> None:
    """However many frames are asked for, together they have no more pixels than fit, but for the rounding of a side."""
    width, height = replace(CHOICE, max_size=4096).size(*size, count)
    assert (width - 1) * (height - 1) * count <= MAX_TAKEN_PIXELS
    assert 1 <= width <= size[0]
    assert 1 <= height <= size[1]


def test_scaled_and_turned(short: bytes) -> None:
    """Frames are scaled down, and turned as the camera was held: the matrix of a telephone held upright."""
    upright = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    track = short.index(b"tkhd")
    matrix = short.index(plain, track)
    clip = decode(short[:matrix] + upright + short[matrix + 36 :], LIMITS, replace(CHOICE, max_size=48))
    assert (clip.width, clip.height) == (32, 48)
    green: Any = images(clip)[0].getchannel("G")  # the bar, which was at the left, is at the top now
    assert green.getpixel((16, 1)) > 120 > green.getpixel((16, 40)) + 60


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_video_file"),
        (b"\0" * (LIMITS.max_bytes + 1), "video_file_too_large"),
        (b"nonsense", "invalid_video_format"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n", "invalid_video_format"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "invalid_video_format"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 1 RTP/AVP 96\n", "invalid_video_format"),
        (b"1\n00:00:00,000 --> 00:00:01,000\nHello\n", "invalid_video_format"),
        (b"<?xml version='1.0'?><MPD><BaseURL>file:///etc/</BaseURL></MPD>", "invalid_video_format"),
        (b"GIF89a", "invalid_video_format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "invalid_video_format"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "invalid_video_format"),
        (b"\0\0\0\x14ftypisom\0\0\0\0isom", "video_parse_error"),
        (b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska", "invalid_video_format"),
        (b"\x1a\x45\xdf\xa3\x93\x42\x82\x84webm", "video_parse_error"),
    ],
)
def test_what_is_refused(data: bytes, code: str) -> None:
    """Only MP4 and WebM get as far as FFmpeg, by what is in them; nothing that could name another file does."""
    assert fault(data) == code


@pytest.mark.parametrize("container", ["avi", "mov", "matroska", "mpegts"])
def test_other_containers(container: str) -> None:
    """Other containers are refused, although FFmpeg could read them."""
    assert fault(film(5, container=container, codec="mpeg4")) == "invalid_video_format"


def test_other_codec() -> None:
    """A codec that is not listed is refused, although FFmpeg could decode it."""
    assert fault(film(5, container="mp4", codec="mpeg2video")) == "unsupported_video_codec"


def test_frames_too_large(monkeypatch: pytest.MonkeyPatch, short: bytes) -> None:
    """The size of a video's frames is bounded, as the container says it and as each frame says it."""
    monkeypatch.setattr(video_module, "MAX_FRAME_PIXELS", 96 * 64 - 1)
    assert fault(short) == "video_too_large"
    monkeypatch.setattr(video_module, "_check_size", lambda *_: None)  # a container that lied
    assert fault(short) == "video_parse_error"


def test_sound_alone() -> None:
    """A file with sound and without pictures is no video."""
    assert fault(sound()) == "invalid_video"


def test_base64(short: bytes) -> None:
    """Base64 is decoded here, strictly."""
    text = base64.b64encode(short)
    assert decode(text, LIMITS, CHOICE, base64=True) == decode(short, LIMITS, CHOICE)
    assert fault(text[:-5] + b"*", as_base64=True) == "invalid_base64_video"


@pytest.mark.parametrize("keep", [100, 0.5, 0.95])
@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_cut_off(container: str, keep: float) -> None:
    """A file that was cut off is damaged."""
    data = film(container=container)
    assert fault(data[: int(keep if keep > 1 else len(data) * keep)]) == "video_parse_error"


def test_damaged(short: bytes) -> None:
    """Noise in the middle leads to frames or to a fault with a name, and to nothing else."""
    for seed in range(30):
        at = 40 + seed * (len(short) - 120) // 30
        noisy = short[:at] + bytes((seed * 37 + i * 101) % 256 for i in range(24)) + short[at + 24 :]
        try:
            clip = decode(noisy, LIMITS, CHOICE)
        except MediaError:
            continue
        assert len(clip.rgb) == clip.width * clip.height * 3 * len(clip.indices)


class Nothing:
    """Stands for the decoder; whoever calls it has decoded too soon."""

    def __call__(self, *_: Any) -> None:
        raise AssertionError("decoded")


@pytest.mark.parametrize(
    ("data", "limits", "code"),
    [
        (film(50, rate=1), VideoLimits(1 << 20, 49), "video_too_long"),
        (film(50, rate=1, container="webm"), VideoLimits(1 << 20, 48), "video_too_long"),
        (film(250, rate=240, size=(16, 16)), VideoLimits(1 << 20, 2), "video_too_long"),
        (film(2, size=(16, 4096)), LIMITS, "invalid_video"),
    ],
)
def test_bounds_before_decoding(monkeypatch: pytest.MonkeyPatch, data: bytes, limits: VideoLimits, code: str) -> None:
    """Too long, too many frames and impossible sides are told from the container, before any frame is decoded."""
    monkeypatch.setattr(video_module, "_frames", Nothing())
    assert fault(data, limits) == code


def test_nothing_after_the_last_wanted_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding stops at the last frame that is wanted: here the first two of 200."""
    given: list[Any] = []
    original = video_module._decoded

    def counted(context: Any, packets: Any) -> Any:
        for frame in original(context, packets):
            given.append(frame)
            yield frame

    monkeypatch.setattr(video_module, "_decoded", counted)
    monkeypatch.setattr(Choice, "indices", lambda *_: [0, 1])
    decode(film(200), LIMITS, CHOICE)
    assert len(given) == 2


def test_rate_is_measured_where_the_file_says_nonsense() -> None:
    """The rate in the file counts only if it is near what the times of the frames say."""

    class Stream:
        average_rate = Fraction(1000)
        time_base = Fraction(1, 1000)

    assert video_module._rate(Stream, range(0, 2000, 40)) == pytest.approx(25.0)
    Stream.average_rate = Fraction(30000, 1001)
    assert video_module._rate(Stream, [0, 33, 66, 100]) == 30000 / 1001


def test_no_other_file_is_opened(monkeypatch: pytest.MonkeyPatch, short: bytes) -> None:
    """A track whose data is said to be in another file is not looked for there."""
    entry = short.index(b"url ", short.index(b"dref"))
    flags = entry + 4
    assert short[flags : flags + 4] == b"\0\0\0\x01"  # the data is in this file
    elsewhere = short[:flags] + b"\0\0\0\0" + short[flags + 4 :]
    opened: list[Any] = []
    monkeypatch.setattr(builtins, "open", lambda *args, **_: opened.append(args))
    monkeypatch.setattr(os, "open", lambda *args, **_: opened.append(args))
    decode(elsewhere, LIMITS, CHOICE)
    assert opened == []


def test_live_recording() -> None:
    """A WebM that does not say where it ends is taken as it is: whoever records cannot know it."""
    whole = film(60, container="webm")
    assert fault(whole[:-1]) == fault(whole[:60]) == "video_parse_error"
    at = whole.index(b"\x18\x53\x80\x67") + 4
    live = whole[:at] + b"\x01" + b"\xff" * 7 + whole[at + 8 :]
    assert decode(live, LIMITS, CHOICE).total == 60
    assert 10 < decode(live[: len(live) // 2], LIMITS, CHOICE).total < 60
