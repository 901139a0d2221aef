"""Small files that want to become large: each ends with the right word and within bounded memory, and breaks nothing."""

import base64
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from omega_server.media.decode import Limits
from omega_server.media.errors import MediaError
from omega_server.media.fetch import Encoded
from omega_server.media.pool import DecodePool

LIMITS = Limits(max_pixels=50_000_000, max_size=1024, max_bytes=20 << 20)
ROOM = 48 << 20
"""Memory that a bomb may cost beyond twice its file, in bytes."""


ZEROS = zlib.compress(bytes(1 << 28), 1)
"""256 MiB, in a thousandth of that."""


def chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


HUGE_HEAD = chunk(b"IHDR", struct.pack(">IIBBBBB", 65_536, 32_768, 1, 0, 0, 0, 0))


def black_png(width: int, height: int, *more: bytes) -> bytes:
    """A PNG of one bit for each pixel, made without holding its pixels, with more chunks after its head."""
    rows = zlib.compressobj(9)
    row = b"\0" * (1 + -(-width // 8))
    pixels = b"".join(rows.compress(row) for _ in range(height)) + rows.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def long_gif(frames: int) -> bytes:
    """A GIF of so many frames, all the same."""
    single = io.BytesIO()
    Image.new("P", (64, 64), 3).save(single, "GIF")
    data = single.getvalue()
    at = data.index(b",", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    return data[:at] + data[at:-1] * frames + b";"


def many_pages(pages: int) -> bytes:
    """A TIFF whose directories follow one another, each of one page of 100 x 100."""
    entries = [(256, 100), (257, 100), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 100), (279, 10_000)]
    directory = 2 + 12 * len(entries) + 4
    start = 8 + 10_000
    body = b"".join(
        struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
        + struct.pack("<I", 0 if page == pages - 1 else start + directory * (page + 1))
        for page in range(pages)
    )
    return b"II*\0" + struct.pack("<I", start) + bytes(10_000) + body


BOMBS: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "12000 x 12000": (lambda: black_png(12_000, 12_000), "image_too_large"),
    "2 billion pixels": (lambda: black_png(8, 8)[:8] + HUGE_HEAD + black_png(8, 8)[33:], "image_too_large"),
    "100,000 frames": (lambda: long_gif(100_000), None),
    "20,000 pages": (lambda: many_pages(20_000), None),
    "text": (lambda: black_png(8, 8, chunk(b"zTXt", b"a\0\0" + ZEROS)), "image_parse_error"),
    "profile": (lambda: black_png(8, 8, chunk(b"iCCP", b"a\0\0" + ZEROS)), "image_parse_error"),
    "words": (lambda: black_png(8, 8, chunk(b"iTXt", b"a\0\1\0\0\0" + ZEROS)), "image_parse_error"),
    "more pixels than its head says": (
        lambda: black_png(8, 8)[:33] + chunk(b"IDAT", ZEROS) + chunk(b"IEND", b""),
        None,
    ),
    "base64 without end": (lambda: b"A" * (28 << 20), "image_file_too_large"),
}


def memory(pool: DecodePool) -> tuple[int | None, int]:
    """The process of a pool, and the most memory that it ever had, in bytes."""
    (process,) = pool._processes
    line = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmHWM" in line)
    return process.pid, int(line.split()[1]) << 10


@pytest.mark.parametrize("name", BOMBS)
async def test_bombs(name: str) -> None:
    """A bomb is a picture or a fault, costs little memory, and the process lives."""
    make, expected = BOMBS[name]
    pool = DecodePool(1)
    try:
        good = Encoded(black_png(64, 64), base64=False)
        await pool.decode(good, LIMITS)
        pid, before = memory(pool)
        data = make()
        code = None
        try:
            picture = await pool.decode(Encoded(data, base64=name.startswith("base64")), LIMITS)
            assert len(picture.rgb) == picture.width * picture.height * 3
        except MediaError as error:
            code = error.code
        assert code == expected
        await pool.decode(good, LIMITS)
        assert memory(pool)[0] == pid
        assert memory(pool)[1] < before + 2 * len(data) + ROOM
    finally:
        await pool.close()


async def test_large_but_permitted() -> None:
    """A picture of as many pixels as may be is decoded within what its process may have."""
    pool = DecodePool(1)
    picture = await pool.decode(Encoded(base64.b64encode(black_png(7_071, 7_071)), base64=True), LIMITS)
    assert (picture.width, picture.height) == (1024, 1024)
    assert memory(pool)[1] < 600 << 20
    await pool.close()
