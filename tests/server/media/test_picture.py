"""Keys of pictures: what differs in anything has another key, and what is the same has the same. All pairs of some thousands."""

from itertools import product

from omega_server.media.decode import Limits
from omega_server.media.fetch import Encoded
from omega_server.media.loader import _key
from omega_server.media.picture import Bounds, Picture

SALTS = (b"", b"a", b"b", b"ab", b"|RGB|", b"\0")
SHAPES = ((1, 6), (6, 1), (2, 3), (3, 2), (1, 1), (11, 1), (1, 11), (1, 110))
NUMBERS = (None, 1, 11, 111)
BOUNDS = (None, *(Bounds(least, most, side) for least, most, side in product(NUMBERS, NUMBERS, (1, 11))))


def pixels(width: int, height: int) -> list[bytes]:
    """Contents that are nearly the same: of one colour, with another first, middle or last byte, or two swapped."""
    size = width * height * 3
    found = [fill * size for fill in (b"\0", b"\1", b"|", b"a")]
    for at in (0, size // 2, size - 1):
        changed = bytearray(size)
        changed[at] = 1
        found.append(bytes(changed))
    return sorted(set(found))


def test_pictures() -> None:
    """Pixels, shape, bounds and asker all count: no two of seven thousand keys, which are 26 million pairs, are equal."""
    pictures = [Picture(*shape, rgb, bounds) for shape in SHAPES for rgb in pixels(*shape) for bounds in BOUNDS]
    different = [(picture, salt) for picture in pictures for salt in SALTS]
    keys = {picture.key(salt) for picture, salt in different}
    assert len(keys) == len(different) > 7000
    assert keys == {Picture(p.width, p.height, bytes(p.rgb), p.bounds).key(salt) for p, salt in different}


def test_files() -> None:
    """A file's bytes, how they are written, the limits and the asker all count; where its pieces are cut does not."""
    files = [first + second for first, second in product((b"", b"a", b"aa", b"|", b"True|"), (b"", b"b", b"\0", b"|a"))]
    limits = [Limits(*numbers) for numbers in product((1, 11), repeat=3)]
    different = list(product(sorted(set(files)), (False, True), limits, SALTS))
    keys = {_key(Encoded(data, base64), limit, salt) for data, base64, limit, salt in different}
    assert len(keys) == len(different) > 1500
    assert keys == {_key(Encoded([d[:1], d[1:2], d[2:]], base64), limit, salt) for d, base64, limit, salt in different}
