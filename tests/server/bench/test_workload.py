"""The same seed, the same requests."""

import base64
import hashlib
import io
from collections import Counter

import pytest
from PIL import Image

from omega_server.bench.workload import SIZES, Picture, generate


def test_same_seed_same_requests() -> None:
    """Requests are equal to the last byte, and another seed gives others."""
    first, again, other = (generate(SIZES["small"], 16, seed) for seed in (7, 7, 8))
    assert first == again
    assert [r.messages() for r in first] == [r.messages() for r in again]
    assert not set(first) & set(other)


def test_known_requests() -> None:
    """What a seed means does not change by accident: figures of different days are compared."""
    requests = generate(SIZES["small"], 64, 0)
    assert sum(request.tokens for request in requests) == 3091
    digest = hashlib.sha256(repr(requests).encode()).hexdigest()
    assert digest[:16] == "5d4f21c384ce851b"


def test_mix() -> None:
    """Text, one and three pictures come as documented, and short and long answers equally often."""
    size = SIZES["medium"]
    requests = generate(size, 64, 3)
    assert Counter(len(request.pictures) for request in requests) == {0: 32, 1: 24, 3: 8}
    long = [request for request in requests if request.tokens >= size.long[0]]
    assert len(long) == 32
    assert Counter(len(request.pictures) for request in long) == {0: 16, 1: 12, 3: 4}


@pytest.mark.parametrize("name", sorted(SIZES))
def test_bounds(name: str) -> None:
    """Everything keeps to its size's ranges, and times never go back."""
    size = SIZES[name]
    requests = generate(size, 200, 1)
    for request in requests:
        assert size.words[0] <= len(request.text.split()) <= size.words[1]
        assert size.short[0] <= request.tokens <= size.short[1] or size.long[0] <= request.tokens <= size.long[1]
        for picture in request.pictures:
            assert size.sides[0] <= min(picture.width, picture.height)
            assert max(picture.width, picture.height) <= size.sides[1]
    times = [request.at for request in requests]
    assert times[0] == 0.0
    assert times == sorted(times)
    assert 150 < times[-1] < 250  # mean gap 1


def test_a_prefix_is_a_smaller_load() -> None:
    """Fewer requests of a seed are the first ones of more."""
    assert generate(SIZES["small"], 40, 5)[:11] == generate(SIZES["small"], 11, 5)


def test_no_picture_twice() -> None:
    """A cache of pictures has nothing to save."""
    pictures = [picture for request in generate(SIZES["small"], 200, 0) for picture in request.pictures]
    assert len(set(pictures)) == len(pictures) > 100


def test_picture_is_what_it_says() -> None:
    """The data: URI holds a JPEG of the promised size, after which comes the question."""
    request = next(r for r in generate(SIZES["small"], 8, 0) if len(r.pictures) == 3)
    parts = request.messages()[0]["content"]
    assert [part["type"] for part in parts] == ["image_url"] * 3 + ["text"]
    for part, picture in zip(parts[:3], request.pictures, strict=True):
        head, data = part["image_url"]["url"].split(",")
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert (head, image.format) == ("data:image/jpeg;base64", "JPEG")
        assert image.size == (picture.width, picture.height)


def test_picture_is_not_plain() -> None:
    """Two pictures differ, and noise keeps each from being packed to nothing."""
    one, other = Picture(1, 64, 48).draw(), Picture(2, 64, 48).draw()
    assert one.tobytes() != other.tobytes()
    assert len(set(one.get_flattened_data())) > 1000
