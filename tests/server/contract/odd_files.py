"""Files that are no good pictures, and a few odd ones that are."""

import io
import struct
import zlib
from typing import Any

from PIL import Image


def png(image: Image.Image, **options: Any) -> bytes:
    """A picture as a PNG file."""
    return encoded(image, "PNG", **options)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file of some kind."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photograph(kind: str) -> bytes:
    """A file that does not compress away."""
    return encoded(Image.effect_noise((300, 300), 80).convert("RGB"), kind)


def claimed_png(width: int, height: int) -> bytes:
    """A PNG whose header says anything, and which has no pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"")
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (head, pixels, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def turned_jpeg() -> bytes:
    """A JPEG that EXIF says lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.new("RGB", (64, 32), "red"), "JPEG", exif=exif)


def long_gif(frames: int) -> bytes:
    """A GIF of so many frames of one pixel."""
    head = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\x00\x00\x00\x00\xff"
    frame = b"\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00"
    return head + frame * frames + b"\x3b"


FOREIGN: dict[str, bytes] = {
    "psd": b"8BPS\0\1" + b"\0" * 90,
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "fits": b"SIMPLE  =                    T".ljust(2880),
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ",
    "j2k": b"\xff\x4f\xff\x51\0\x2f" + b"\0" * 60,
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "ico": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0" + b"\0" * 60,
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "ppm": b"P6\n2 2\n255\n" + b"\0" * 12,
    "xbm": b"#define x_width 8\n#define x_height 8\nstatic char x_bits[] = {0,0,0,0,0,0,0,0};\n",
    "dds": b"DDS \x7c\0\0\0" + b"\0" * 120,
    "html": b"<!DOCTYPE html><html></html>",
    "zip": b"PK\3\4" + b"\0" * 40,
    "elf": b"\x7fELF" + b"\0" * 60,
    "pickle": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x02os\x94.",
    "wav": b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 30,
    "words": b"this is not a picture",
    "zeros": b"\0" * 200,
}
"""By kind: files of formats that are not on the list, or of none."""
