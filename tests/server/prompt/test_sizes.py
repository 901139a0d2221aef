"""How large a picture is seen: never beyond what the request and the server's limits say, and else as the checkpoint says."""

import random

import pytest
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from omega_server.media.picture import Bounds, PictureHeader
from omega_server.prompt.sizes import seen_size

FACTOR, SMALLEST, LARGEST = 32, 65_536, 16_777_216
"""Of Qwen3-VL: 64 to 16,384 tokens."""
SIDES = (1, 7, 31, 32, 33, 100, 333, 512, 640, 1000, 1024)
BOUNDS = [(None, 1024), (None, 65_536), (None, 262_144), (None, 900_000), (1_000, None), (262_144, None), (1_048_576, None),
          (65_536, 131_072), (300_000, 300_000), (1_024, 1_024)]  # fmt: skip
SHAPES = [(w, h) for w in SIDES for h in SIDES if max(w, h) <= 200 * min(w, h)]


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("max_size", [512, 1024])
def test_within_the_bounds(bounds: tuple[int | None, int | None], max_size: int) -> None:
    """Every picture keeps the largest size asked for and the server's own, and reaches the smallest if those permit."""
    least, most = bounds
    for width, height in SHAPES:
        if max(width, height) > max_size:
            continue
        picture = PictureHeader(width, height, Bounds(least, most, max_size))
        tall, wide = seen_size(picture, FACTOR, SMALLEST, LARGEST)
        assert tall % FACTOR == wide % FACTOR == 0
        assert max(tall, wide) <= max_size, picture
        assert min(tall, wide) >= FACTOR
        assert tall * wide <= (most or LARGEST), picture
        if least is not None and most is None:
            limited = max(tall, wide) == max_size
            assert tall * wide >= least or limited, picture


def test_more_than_the_checkpoint_would() -> None:
    """Who asks for more pixels than the checkpoint takes by itself gets them."""
    for width, height in SHAPES:
        tall, wide = seen_size(PictureHeader(width, height, Bounds(200_000, None, 1024)), FACTOR, 20_000, 34_300)
        assert tall * wide >= 200_000 or max(tall, wide) == 1024


def test_without_bounds() -> None:
    """A request that says nothing gets what the stock processor makes of the picture."""
    numbers = random.Random(3)
    for _ in range(500):
        width, height = numbers.randint(1, 3000), numbers.randint(1, 3000)
        if max(width, height) <= 200 * min(width, height):
            expected = smart_resize(height, width, FACTOR, SMALLEST, LARGEST)
            assert seen_size(PictureHeader(width, height), FACTOR, SMALLEST, LARGEST) == expected


def test_bounds_that_change_nothing() -> None:
    """Bounds that a picture keeps already leave it as it would be without them, and the shape stays."""
    for width, height in SHAPES:
        plain = seen_size(PictureHeader(width, height), FACTOR, SMALLEST, LARGEST)
        if max(plain) <= 1024:
            asked = PictureHeader(width, height, Bounds(SMALLEST, LARGEST, 1024))
            assert seen_size(asked, FACTOR, SMALLEST, LARGEST) == plain
