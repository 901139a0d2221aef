"""Bytes of a video to frames. Pure, needs PyAV and Pillow, and is meant to run where it may be killed.

Container and codec are of explicit lists, found in the content alone, and FFmpeg may open nothing but the bytes it was
given. Length, size and number of frames are known before the first frame is decoded, and nothing is decoded after the
last frame that is wanted. Frames are chosen as transformers' video processor of Qwen3-VL chooses them.
"""

import io
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import av
from av.stream import Disposition
from PIL import Image

from omega_server.media import text
from omega_server.media.clip import Choice, Clip, VideoLimits
from omega_server.media.errors import MediaError

CODECS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "av1")
"""What a video may be coded in, as FFmpeg calls it."""
DECODERS = (*CODECS, "libdav1d", "libvpx", "libvpx-vp9")
"""What may decode that, as FFmpeg calls it."""
BRANDS = frozenset(
    {b"isom", b"mp41", b"mp42", b"avc1", b"hvc1", b"av01", b"dash", b"MSNV", b"XAVC", b"M4V ", b"M4VH", b"M4VP"}
    | {b"iso%d" % version for version in range(2, 10)}
)
"""What makes a file of the ISO family an MP4: QuickTime and still pictures (HEIC, AVIF) have others."""
MAX_FRAME_PIXELS = 1 << 24
"""Width times height of a video: 4096 x 4096."""
MAX_RATIO = 200
"""Longer side by shorter side; beyond it the model's own preprocessing gives up."""
MAX_RATE = 120
"""Frames that a video may have for each second that one may last."""
THREADS = 2
"""Of a decoder."""

_ROTATED = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


def decode(data: bytes, limits: VideoLimits, choice: Choice, *, base64: bool = False) -> Clip:
    """The chosen frames of a video.

    Args:
        data: the file, or its base64 text.
        limits: what it may be.
        choice: which frames.
        base64: which of the two `data` is.

    Raises:
        MediaError: it is not a video that may be used.
    """
    if base64:
        try:
            data = text.decoded(data)
        except ValueError as error:
            message = "The video is not base64 (padded, without line breaks)."
            raise MediaError("invalid_base64_video", message) from error
    if not data:
        raise MediaError("empty_video_file", "The video is empty.")
    if len(data) > limits.max_bytes:
        raise MediaError("video_file_too_large", f"The video's file is larger than {limits.max_bytes} bytes.")
    demuxer = _demuxer(data)
    try:
        with av.open(io.BytesIO(data), format=demuxer, options=_options(demuxer), io_open=_refuse) as container:
            return _clip(container, limits, choice)
    except MediaError:
        raise
    except Exception as error:  # a broken file may lead to almost anything
        raise MediaError("video_parse_error", "The video's file is damaged.") from error


def _demuxer(data: bytes) -> str:
    """FFmpeg's name of what reads the container."""
    if data[4:8] == b"ftyp":
        size = min(int.from_bytes(data[:4], "big"), 256)
        # Between the major brand and those that it is compatible with stands a version.
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))}
        if brands & BRANDS and data[8:12] != b"qt  ":
            return "mp4"
    # EBML: the type of the document is near the beginning, as a string with its length before it.
    if data.startswith(b"\x1a\x45\xdf\xa3") and b"\x42\x82\x84webm" in data[:64]:
        if _segment_end(data) > len(data):  # FFmpeg would take what is there
            raise MediaError("video_parse_error", "The video's file is cut off.")
        return "matroska"
    raise MediaError("invalid_video_format", "The video is neither MP4 nor WebM.")


def _segment_end(data: bytes) -> int:
    """Where the segment of a WebM ends, which is all of it but its head; 0 if it does not say so, as live recordings."""
    head, length = _ebml_size(data, 4)
    segment = 4 + length + head
    size, length = _ebml_size(data, segment + 4)
    if data[segment : segment + 4] != b"\x18\x53\x80\x67" or size == (1 << 7 * length) - 1:
        return 0
    return segment + 4 + length + size


def _ebml_size(data: bytes, at: int) -> tuple[int, int]:
    """The number that stands there, and its length in bytes: one more than its first byte has zeros in front."""
    length = 9 - int.from_bytes(data[at : at + 1], "big").bit_length()
    return int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1), length


def _options(demuxer: str) -> dict[str, str]:
    """Nothing but these bytes, this demuxer and those codecs."""
    return {"protocol_whitelist": "none", "format_whitelist": demuxer, "codec_whitelist": ",".join(DECODERS)}


def _refuse(*_: Any) -> NoReturn:
    raise PermissionError("a video may not lead to another file")


def _clip(container: Any, limits: VideoLimits, choice: Choice) -> Clip:
    stream = next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)
    if stream is None:
        raise MediaError("invalid_video", "The file has no video in it, only sound or pictures.")
    context = stream.codec_context
    if context is None or context.codec.canonical_name not in CODECS:
        raise MediaError("unsupported_video_codec", f"The video's codec is none of {', '.join(CODECS)}.")
    _check_size(context.width, context.height)
    if container.duration is not None and container.duration > limits.max_seconds * av.time_base:
        raise _too_long(limits)
    packets, stamps = _scan(container, stream, limits)
    fps = _rate(stream, stamps)
    indices = choice.indices(len(stamps), fps)
    width, height = choice.size(context.width, context.height, len(indices))
    context.thread_type, context.thread_count = "AUTO", THREADS
    context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}  # a frame may say another size than the header
    frames = list(_frames(context, packets, [stamps[index] for index in indices], (width, height)))
    if frames[-1][1] in (90, 270):
        width, height = height, width
    return Clip(width, height, b"".join(rgb for rgb, _ in frames), tuple(indices), len(stamps), fps, choice.exact)


def _check_size(width: int, height: int) -> None:
    if min(width, height) < 1:
        raise MediaError("invalid_video", "The video has no pixels.")
    if width * height > MAX_FRAME_PIXELS:
        raise MediaError("video_too_large", f"The video's frames have more than {MAX_FRAME_PIXELS} pixels.")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise MediaError("invalid_video", f"The video's sides differ by more than {MAX_RATIO} to 1.")


def _too_long(limits: VideoLimits) -> MediaError:
    return MediaError(
        "video_too_long",
        f"A video may have {limits.max_seconds} seconds, and {limits.max_seconds * MAX_RATE} frames in them.",
    )


def _scan(container: Any, stream: Any, limits: VideoLimits) -> tuple[list[Any], list[int]]:
    """The packets of a stream in the order of decoding, and the times at which its frames are shown, ascending."""
    packets, stamps = [], []
    longest = limits.max_seconds / stream.time_base
    for packet in container.demux(stream):
        if not packet.size:
            continue
        packets.append(packet)
        if packet.is_corrupt:
            raise MediaError("video_parse_error", "The video's file is damaged or cut off.")
        if packet.pts is None or packet.is_discard:
            continue
        stamps.append(packet.pts)
        if len(stamps) > limits.max_seconds * MAX_RATE or abs(packet.pts - stamps[0]) > longest:
            raise _too_long(limits)
    if not stamps:
        raise MediaError("invalid_video", "The video has no frames.")
    if len(packets) < stream.frames:
        raise MediaError("video_parse_error", "The video's file is cut off.")
    return packets, sorted(stamps)


def _rate(stream: Any, stamps: Sequence[int]) -> float:
    """Frames in each second: as the file says, if that is near the truth."""
    said = float(stream.average_rate or 0)
    seconds = float((stamps[-1] - stamps[0]) * stream.time_base)
    measured = (len(stamps) - 1) / seconds if seconds > 0 else 0.0
    if said > 0 and (not measured or abs(said - measured) < measured / 10):
        return said
    return measured or 1.0


def _frames(
    context: Any, packets: Sequence[Any], wanted: Sequence[int], size: tuple[int, int]
) -> Iterator[tuple[bytes, int]]:
    """RGB of the frames at the wanted times, and by how many degrees they were turned to the left."""
    remaining = list(reversed(wanted))
    last: tuple[bytes, int] | None = None
    for frame in _decoded(context, packets):
        if frame.pts is None or frame.pts < remaining[-1]:
            continue
        last = _rgb(frame, size)
        while remaining and frame.pts >= remaining[-1]:
            yield last
            remaining.pop()
        if not remaining:
            return
    if last is None:
        raise MediaError("video_parse_error", "The video's file is damaged.")
    for _ in remaining:
        yield last


def _decoded(context: Any, packets: Sequence[Any]) -> Iterator[Any]:
    for packet in (*packets, None):
        yield from context.decode(packet)


def _rgb(frame: Any, size: tuple[int, int]) -> tuple[bytes, int]:
    # FFmpeg scales while it converts, seven times as fast as Pillow does after that.
    same = (frame.width, frame.height) == size
    image = frame.to_image() if same else frame.to_image(width=size[0], height=size[1], interpolation="BICUBIC")
    turn = round(frame.rotation / 90) * 90 % 360
    return (image.transpose(_ROTATED[turn]) if turn else image).tobytes(), turn
