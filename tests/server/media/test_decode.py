"""Files become what a person sees, or a fault with the right name, without much memory."""

import base64
import io
import os
import struct
import subprocess
import sys
import zlib
from typing import Any

import pytest
from PIL import Image

from omega_server.media.decode import Limits, decode
from omega_server.media.errors import MediaError
from omega_server.media.picture import Picture

LIMITS = Limits(max_pixels=50_000_000, max_size=1024, max_bytes=20 << 20)
RED, WHITE = (255, 0, 0), (255, 255, 255)


def encode(image: Image.Image, name: str, **options: Any) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    """A black PNG of any size, made without holding its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    row = b"\0" * (1 + -(-width // 8))
    pixels = b"".join(rows.compress(row) for _ in range(height)) + rows.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def fault(data: bytes, limits: Limits = LIMITS, *, as_base64: bool = False) -> str:
    """Code with which a file is refused."""
    with pytest.raises(MediaError) as caught:
        decode(data, limits, base64=as_base64)
    assert "0x" not in str(caught.value)
    return caught.value.code


def pixel(picture: Picture, x: int, y: int) -> tuple[int, ...]:
    """One pixel's red, green and blue."""
    at = (y * picture.width + x) * 3
    return tuple(picture.rgb[at : at + 3])


def close(found: tuple[int, ...], expected: tuple[int, ...], *, off: int = 3) -> bool:
    """Whether two colours are equal but for the losses of compression."""
    return all(abs(one - other) <= off for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_formats(name: str) -> None:
    """Every listed format is read."""
    picture = decode(encode(Image.new("RGB", (40, 20), RED), name), LIMITS)
    assert (picture.width, picture.height, len(picture.rgb)) == (40, 20, 2400)
    assert close(pixel(picture, 20, 10), RED)


@pytest.mark.parametrize(
    "data",
    [
        b"8BPS\0\1" + b"\0" * 100,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"SIMPLE  =                    T" + b" " * 3000,
        b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 100,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7\n",
        b"\x80\x04\x95pickle",
        b"P6 9 9 255\n" + b"\0" * 243,
        encode(Image.new("RGB", (9, 9)), "ICO"),
        encode(Image.new("RGB", (9, 9)), "TGA"),
    ],
    ids=["psd", "eps", "fits", "jp2", "svg", "pdf", "pickle", "ppm", "ico", "tga"],
)
def test_other_formats(data: bytes) -> None:
    """No other decoder is ever opened, whatever the file is called."""
    assert fault(data) == "invalid_image_format"


def test_damaged() -> None:
    """A file that breaks off is damaged, wherever it breaks off."""
    for name in ("JPEG", "PNG", "GIF", "TIFF"):
        data = encode(Image.effect_noise((200, 200), 80).convert("RGB"), name)
        for length in (12, len(data) // 2):
            assert fault(data[:length]) == "image_parse_error", (name, length)


def test_sizes() -> None:
    """Size and shape are refused from the header, before any pixel is decoded."""
    assert fault(png(12000, 12000)) == "image_too_large"
    assert fault(png(20_100, 100)) == "invalid_image"
    assert fault(png(0, 5)) == "image_too_small"
    assert fault(png(5, 0)) == "image_too_small"
    assert fault(b"") == "empty_image_file"
    assert fault(png(9, 9), Limits(100, 100, max_bytes=10)) == "image_file_too_large"
    assert fault(encode(Image.new("F", (9, 9)), "TIFF")) == "invalid_image"


def test_base64() -> None:
    """Base64 is strict."""
    data = base64.b64encode(png(9, 9))
    assert decode(data, LIMITS, base64=True).width == 9
    for broken in (b"!!!!aGk=", data[:-1], data[:60] + b"\n" + data[60:], b"aGk=aGk="):
        assert fault(broken, as_base64=True) == "invalid_base64_image"


@pytest.mark.parametrize(
    ("size", "expected"),
    [((2000, 1000), (1024, 512)), ((1000, 3000), (342, 1024)), ((1024, 10), (1024, 10)), ((1, 1), (1, 1)),
     ((20_000, 100), (1024, 6))],
)  # fmt: skip
def test_only_scaled_down(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """The longer side comes down to the limit, never up, and the shape stays within what the model takes."""
    picture = decode(png(*size), LIMITS)
    assert (picture.width, picture.height) == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    """A picture is turned as its EXIF data says."""
    image = Image.new("RGB", (32, 16), WHITE)
    image.paste(RED, (0, 0, 8, 8))
    exif = image.getexif()
    exif[0x112] = orientation
    picture = decode(encode(image, "PNG", exif=exif), LIMITS)
    turned = orientation >= 5
    assert (picture.width, picture.height) == ((16, 32) if turned else (32, 16))
    corners = {
        (x, y): pixel(picture, x * (picture.width - 1), y * (picture.height - 1)) == RED for x in (0, 1) for y in (0, 1)
    }
    red = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}[orientation]
    assert [corner for corner, is_red in corners.items() if is_red] == [red]


def palette() -> Image.Image:
    """A picture of one palette colour."""
    image = Image.new("P", (8, 8))
    image.putpalette([10, 20, 30] * 256)
    return image


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (Image.new("RGBA", (8, 8), (0, 0, 0, 0)), {}, WHITE),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 128)), {}, (127, 127, 127)),
        (Image.new("LA", (8, 8), (0, 0)), {}, WHITE),
        (Image.new("L", (8, 8), 7), {}, (7, 7, 7)),
        (Image.new("L", (8, 8), 7), {"transparency": 7}, WHITE),
        (Image.new("L", (8, 8), 7), {"transparency": 8}, (7, 7, 7)),
        (Image.new("RGB", (8, 8), (1, 2, 3)), {"transparency": (1, 2, 3)}, WHITE),
        (palette(), {}, (10, 20, 30)),
        (palette(), {"transparency": 0}, WHITE),
        (Image.new("1", (8, 8), 1), {}, WHITE),
        (Image.new("I;16", (8, 8), 0x8080), {}, (128, 128, 128)),
        (Image.new("I;16", (8, 8), 0xFFFF), {}, WHITE),
        (Image.new("I;16", (8, 8), 0x1234), {"transparency": 0x1234}, WHITE),
        (Image.new("I;16", (8, 8), 0x8080), {"transparency": 0x1234}, (128, 128, 128)),
    ],
)
def test_modes(image: Image.Image, options: dict[str, Any], expected: tuple[int, int, int]) -> None:
    """Transparency lies on white, palettes and 16 bits show their colours."""
    assert close(pixel(decode(encode(image, "PNG", **options), LIMITS), 4, 4), expected, off=1)


def test_cmyk() -> None:
    """A print shop's JPEG has the colours that it prints."""
    assert close(pixel(decode(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), LIMITS), 4, 4), RED)


def test_animation() -> None:
    """The first frame of a long animation is enough."""
    frames = [Image.new("RGB", (8, 8), (frame % 256, 255, 0)) for frame in range(500)]
    data = encode(Image.new("RGB", (8, 8), RED), "GIF", save_all=True, append_images=frames)
    assert close(pixel(decode(data, LIMITS), 4, 4), RED)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about files that break off
def test_cut_off(name: str) -> None:
    """What begins like one of the formats and breaks off is damaged, not something else."""
    data = encode(Image.effect_noise((64, 64), 80).convert("RGB"), name)
    for length in (14, 20, 40, 100, len(data) // 3, len(data) * 2 // 3):
        assert fault(data[:length]) == "image_parse_error", length


def patched(name: str, before: bytes, offset: int, value: bytes) -> bytes:
    """A file with other bytes at a distance from some."""
    data = bytearray(encode(Image.new("RGB", (9, 9)), name))
    at = data.index(before) + offset
    data[at : at + len(value)] = value
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        patched("JPEG", b"\xff\xc0", 5, b"\0\0"),
        patched("JPEG", b"\xff\xc0", 7, b"\0\0"),
        patched("BMP", b"BM", 18, b"\0\0\0\0"),
        patched("BMP", b"BM", 22, b"\0\0\0\0"),
        png(0, 0),
    ],
    ids=["low jpeg", "narrow jpeg", "narrow bmp", "low bmp", "png"],
)
def test_no_pixels(data: bytes) -> None:
    """A side of no pixels has its own word."""
    assert fault(data) == "image_too_small"


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_of_each_format(name: str, orientation: int) -> None:
    """EXIF counts wherever a format can have it."""
    image = Image.new("RGB", (64, 32), WHITE)
    image.paste(RED, (0, 0, 16, 16))
    exif = image.getexif()
    exif[0x112] = orientation
    picture = decode(encode(image, name, exif=exif), LIMITS)
    assert (picture.width, picture.height) == ((32, 64) if orientation > 4 else (64, 32))
    x, y = {1: (0, 0), 3: (1, 1), 6: (1, 0), 8: (0, 1)}[orientation]
    assert close(pixel(picture, 4 + x * (picture.width - 9), 4 + y * (picture.height - 9)), RED, off=40)
    assert close(pixel(picture, picture.width // 2, picture.height // 2), WHITE, off=40)


def deep_png(kind: int, *samples: int) -> bytes:
    """A PNG of 8 x 8 equal pixels with 16 bits for each sample."""
    row = b"\0" + struct.pack(f">{len(samples)}H", *samples) * 8
    parts = [b"IHDR" + struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0), b"IDAT" + zlib.compress(row * 8), b"IEND"]
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def translucent_palette() -> bytes:
    """A PNG whose one palette entry is half transparent."""
    return encode(palette(), "PNG", transparency=bytes([128] + [255] * 255))


def small_frame() -> bytes:
    """A GIF whose first frame covers the left half of its canvas; the other half is nothing."""
    frame = encode(Image.new("P", (8, 16)), "GIF", transparency=1)
    return frame[:6] + struct.pack("<HH", 16, 16) + frame[10:]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (deep_png(2, 0xFFFF, 0x8080, 0), (255, 128, 0)),
        (deep_png(6, 0xFFFF, 0, 0, 0xFFFF), RED),
        (deep_png(6, 0, 0, 0, 0), WHITE),
        (deep_png(4, 0x8080, 0xFFFF), (128, 128, 128)),
        (deep_png(4, 0, 0x8080), (127, 127, 127)),
        (encode(Image.new("I;16", (8, 8), 0x8080), "TIFF"), (128, 128, 128)),
        (encode(Image.new("I;16B", (8, 8), 0x8080), "TIFF"), (128, 128, 128)),
        (encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), RED),
        (encode(Image.new("YCbCr", (8, 8), (76, 85, 255)), "TIFF"), (254, 0, 0)),
        (encode(Image.new("1", (8, 8), 0), "TIFF"), (0, 0, 0)),
        (encode(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "WEBP", lossless=True), WHITE),
        (encode(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "WEBP", lossless=True), (127, 127, 127)),
        (encode(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "AVIF"), WHITE),
        (encode(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "TIFF"), WHITE),
        (encode(palette(), "GIF", transparency=0), WHITE),
        (encode(palette(), "BMP"), (10, 20, 30)),
        (translucent_palette(), (132, 137, 142)),
    ],
)
def test_depths_and_transparency(data: bytes, expected: tuple[int, int, int]) -> None:
    """Colours are right for deep samples, inks, palettes and what can be seen through, in each format that has them."""
    assert close(pixel(decode(data, LIMITS), 4, 4), expected, off=2)


@pytest.mark.parametrize("name", ["PNG", "WEBP", "AVIF", "TIFF"])
def test_first_frame(name: str) -> None:
    """Of several frames or pages the first is taken."""
    others = [Image.new("RGB", (16, 16), (0, 0, 255))] * 3
    data = encode(Image.new("RGB", (16, 16), RED), name, save_all=True, append_images=others)
    assert close(pixel(decode(data, LIMITS), 8, 8), RED, off=8)


def test_nothing_around_a_frame() -> None:
    """Where a GIF's first frame does not reach, there is white or its background, and no rubbish."""
    picture = decode(small_frame(), LIMITS)
    assert (picture.width, picture.height) == (16, 16)
    assert pixel(picture, 12, 8) in (WHITE, pixel(picture, 2, 8))


def test_a_frame_is_measured_before_room_is_made_for_it() -> None:
    """A GIF of 78 bytes whose first frame of 4 gigapixels is to be wiped afterwards costs no memory (found by fuzzing)."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0, 0, 0)
    wiped = b"!\xf9\x04" + struct.pack("<BHBB", 2 << 2, 0, 0, 0)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x08\x00;"
    script = (
        "import resource, sys; from omega_server.media import decode; from omega_server.media.errors import MediaError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "try: decode.decode(sys.stdin.buffer.read(), decode.Limits(1 << 20, 512, 1 << 20))\n"
        "except MediaError as error: print(error.code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=screen + wiped + frame, env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.decode().strip() == "image_too_large"
