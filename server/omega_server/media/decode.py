"""Bytes to pixels. Pure, needs Pillow alone, and is meant to run where it may be killed.

The format is one of an explicit list, size and shape are checked from the header before any pixel is decoded, and the
result is what a person sees: turned as EXIF says, transparency on white, first frame of an animation.
"""

import io
import struct
import warnings
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from omega_server.media import text
from omega_server.media.errors import MediaError
from omega_server.media.picture import Picture

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (8, b"WEBP", "WEBP"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (6, b"\0\0\0\0", "BMP"),
)
"""Where a file of each format says so. A bitmap's own two letters begin many texts, too: it is known by what is reserved."""
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG after which its size stands."""
MAX_RATIO = 200
"""Longer side by shorter side; beyond it the model's own preprocessing gives up."""


@dataclass(frozen=True)
class Limits:
    """What a picture may be.

    Attributes:
        max_pixels: width times height as sent.
        max_size: longer side of the result, in pixels.
        max_bytes: of the file.
    """

    max_pixels: int
    max_size: int
    max_bytes: int


def decode(data: bytes, limits: Limits, *, base64: bool = False) -> Picture:
    """The picture in a file.

    Args:
        data: the file, or its base64 text.
        limits: what it may be.
        base64: which of the two.

    Raises:
        MediaError: it is not a picture that may be used.
    """
    if base64:
        try:
            data = text.decoded(data)
        except ValueError as error:
            message = "The picture is not base64 (padded, without line breaks)."
            raise MediaError("invalid_base64_image", message) from error
    if not data:
        raise MediaError("empty_image_file", "The picture is empty.")
    if len(data) > limits.max_bytes:
        raise MediaError("image_file_too_large", f"The picture's file is larger than {limits.max_bytes} bytes.")
    image = _open(data, limits)
    _check_size(image.size, limits)
    try:
        image.load()
        _check_size(image.size, limits)  # the first frame of a GIF may be larger than its header says
        image = _rgb(ImageOps.exif_transpose(image))
        image = _shrink(image, limits.max_size)
        return Picture(image.width, image.height, image.tobytes())
    except MediaError:
        raise
    except Exception as error:  # Pillow's decoders raise almost anything over a broken file
        raise MediaError("image_parse_error", "The picture's file is damaged.") from error


def _open(data: bytes, limits: Limits) -> Image.Image:
    known = _known(data)
    if 0 in _announced(data, known):
        raise _too_small()
    # Pillow takes memory for some frames before it lets us look at their size, such as a GIF's that is wiped afterwards.
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(limits) from error
    except UnidentifiedImageError as error:
        if known:
            raise MediaError("image_parse_error", f"The {known} file is damaged.") from error
        names = ", ".join(FORMATS)
        raise MediaError("invalid_image_format", f"The picture has none of the formats {names}.") from error
    except Exception as error:
        raise MediaError("image_parse_error", "The picture's file is damaged.") from error


def _known(data: bytes) -> str | None:
    """The format that a file says it has."""
    names = (name for at, magic, name in _MAGIC if data.startswith(magic, at))
    name = next(names, None)
    return None if name == "BMP" and not data.startswith(b"BM") else name


def _announced(data: bytes, known: str | None) -> tuple[int, ...]:
    """Width and height, where Pillow has no good words for a side of nothing; else empty."""
    match known:
        case "PNG" if data[12:16] == b"IHDR" and len(data) >= 24:
            return struct.unpack_from(">II", data, 16)
        case "BMP" if len(data) >= 26 and struct.unpack_from("<I", data, 14)[0] >= 40:
            return struct.unpack_from("<ii", data, 18)
        case "JPEG":
            return _jpeg_size(data)
    return ()


def _jpeg_size(data: bytes) -> tuple[int, ...]:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _FRAMES:
            return struct.unpack_from(">HH", data, at + 5)
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return ()


def _too_small() -> MediaError:
    return MediaError("image_too_small", "The picture has no pixels.")


def _too_large(limits: Limits) -> MediaError:
    return MediaError("image_too_large", f"The picture has more than {limits.max_pixels} pixels.")


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    if min(size) < 1:
        raise _too_small()
    if size[0] * size[1] > limits.max_pixels:
        raise _too_large(limits)
    if max(size) > MAX_RATIO * min(size):
        raise MediaError("invalid_image", f"The picture's sides differ by more than {MAX_RATIO} to 1.")


def _rgb(image: Image.Image) -> Image.Image:
    """What a person sees, on white."""
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):
        image = _eight_bits(image)
    elif image.mode == "F":
        raise MediaError("invalid_image", "Pictures of floating point numbers are not supported.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits, with the transparent value, if there is one, as alpha."""
    transparent = image.info.get("transparency")
    wide = image.convert("I")
    grey = wide.point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if not isinstance(transparent, int):
        return grey
    above = wide.point(lambda value: value * 1 - transparent).convert("L")
    below = wide.point(lambda value: value * -1 + transparent).convert("L")
    alpha = ImageChops.lighter(above, below).point(lambda value: 255 if value else 0)
    grey.info.pop("transparency", None)
    return Image.merge("LA", (grey, alpha))


def _shrink(image: Image.Image, max_size: int) -> Image.Image:
    """The picture scaled so that its longer side is at most `max_size`; never larger than it was."""
    longer = max(image.size)
    if longer <= max_size:
        return image
    # Rounded up, so that a thin picture does not become thinner than MAX_RATIO.
    width, height = (-(-side * max_size // longer) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)
