"""How large the model sees a picture. Pure, and the same whether tokens are counted or pixels are made."""

from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from omega_server.media.picture import PictureHeader


def seen_size(picture: PictureHeader, factor: int, smallest: int, largest: int) -> tuple[int, int]:
    """Height and width in which the model sees a picture, in pixels; multiples of `factor`.

    Without bounds it is the size that the checkpoint's own processor chooses. The bounds of a request take the place of the
    checkpoint's, and a min_pixels above the checkpoint's largest lifts that. max_pixels is always kept, at the cost of the
    shape of a thin picture if it must be; min_pixels is, as far as max_pixels and the longer side's limit permit.

    Args:
        picture: its size and bounds.
        factor: side of what becomes one token, in pixels.
        smallest: width times height that the checkpoint scales up to.
        largest: width times height that the checkpoint scales down to.
    """
    bounds = picture.bounds
    if bounds is None:
        height, width = smart_resize(picture.height, picture.width, factor, smallest, largest)
        return height, width
    least = smallest if bounds.min_pixels is None else bounds.min_pixels
    most = bounds.max_pixels
    if most is None:
        most = largest if least <= largest else bounds.max_size**2
    least = min(least, most)
    height, width = smart_resize(picture.height, picture.width, factor, least, most)
    longest = max(factor, bounds.max_size // factor * factor)
    height, width = min(height, longest), min(width, longest)
    if height * width <= most:
        return height, width
    # A side is never less than `factor`, so a thin picture is still too large: its longer side gives way.
    shorter = min(height, width)
    longer = max(factor, most // shorter // factor * factor)
    return (longer, shorter) if height > width else (shorter, longer)
