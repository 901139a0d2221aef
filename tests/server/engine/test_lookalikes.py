"""Pictures that a careless cache would take for each other: each gets its own answer, and so does each asker.

Files go through the decoder and the processor as they do in a server, and the answers come from one engine whose caches are
warm with the other of the pair. Numbers are compared, not words: the logprobs of each token.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from omega_server.engine.request import Prompt, Sampling
from omega_server.media.decode import Limits, decode
from omega_server.media.picture import Bounds, Picture
from omega_server.prompt.messages import Turn
from omega_server.prompt.processor import Processor

LIMITS = Limits(1_000_000, 1024, 1 << 20)
SAMPLING = Sampling(6, logprobs=0, ignore_eos=True)


def noise(width: int, height: int) -> Image.Image:
    """Grey noise, the same each time."""
    return Image.frombytes("L", (width, height), bytes(i * i * 7 % 251 for i in range(width * height)))


def file(image: Image.Image, **options: Any) -> Picture:
    """A picture, saved as a PNG and decoded."""
    data = io.BytesIO()
    image.save(data, "PNG", **options)
    return decode(data.getvalue(), LIMITS)


def turned(orientation: int) -> Picture:
    """One picture with another EXIF orientation."""
    image = noise(96, 96)
    exif = image.getexif()
    exif[0x112] = orientation
    return file(image, exif=exif)


def coloured(*colours: tuple[int, int, int]) -> Picture:
    """One picture of palette entries, with another palette."""
    image = Image.frombytes("P", (96, 64), bytes(x // 24 % 4 for _ in range(64) for x in range(96)))
    image.putpalette([value for colour in colours for value in colour])
    return file(image)


def see_through(value: int) -> Picture:
    """One picture with another transparent value."""
    return file(noise(96, 64).point(lambda grey: grey // 64), transparency=value)


def pairs() -> dict[str, tuple[Picture, Picture]]:
    """Lookalikes by what tells them apart."""
    wide = file(noise(96, 64))
    red, green, blue, white = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    half = len(wide.rgb) * 3 // 4
    return {
        "transposed": (wide, Picture(64, 96, wide.rgb)),
        "the same beginning": (wide, replace(wide, rgb=wide.rgb[:half] + bytes(len(wide.rgb) - half))),
        "the last byte": (wide, replace(wide, rgb=wide.rgb[:-1] + bytes([wide.rgb[-1] ^ 0x80]))),
        "palettes": (coloured(red, green, blue, white), coloured(blue, green, red, white)),
        "orientation": (turned(1), turned(6)),
        "transparency": (see_through(0), see_through(3)),
        "bounds": (wide, replace(wide, bounds=Bounds(None, 4096, 1024))),
    }


PAIRS = pairs()


@pytest.fixture(scope="module")
def processor(model_path: str) -> Processor:
    """Of the demo model."""
    return Processor(model_path, 4096)


@pytest.fixture(scope="module")
def ask(dense: Any, processor: Processor, run: Callable[..., Any]) -> Callable[..., list[tuple[int, float, int]]]:
    """Ask an engine about a picture, and say what it says: ids, logprobs, and how much it knew already."""
    engines: dict[str, Any] = {}

    def ask(engine: str, picture: Picture, salt: bytes = b"") -> list[tuple[int, float, int]]:
        found = engines.setdefault(engine, dense.engine())
        built, _ = processor.build([Turn("user", (picture, "What is this? Say it in many words, please."))], salt)
        found.submit(0, Prompt(built.token_ids, built.media, salt), SAMPLING)
        return [(token.id, token.logprob, token.cached_tokens) for token in run(found)[0]]

    return ask


def numbers(answer: list[tuple[int, float, int]]) -> list[float]:
    """What was said, without what was known."""
    return [number for token, logprob, _ in answer for number in (token, logprob)]


@pytest.mark.parametrize("name", PAIRS)
def test_lookalikes(ask: Callable[..., list[tuple[int, float, int]]], name: str) -> None:
    """Each of a pair is answered as if the other had never been, also when its own answer is in every cache."""
    one, other = PAIRS[name]
    alone = [numbers(ask(f"{name} {index}", picture)) for index, picture in enumerate((one, other))]
    assert alone[0] != pytest.approx(alone[1], abs=1e-4)
    for index, picture in enumerate((one, other, one, other)):
        answer = ask("warm", picture)
        assert numbers(answer) == pytest.approx(alone[index % 2], abs=1e-4)


def test_askers(ask: Callable[..., list[tuple[int, float, int]]]) -> None:
    """What one asker has made known is news for another: nothing is taken from its caches, and the answer is the same."""
    picture, _ = PAIRS["palettes"]
    first, again = ask("shared", picture, b"one"), ask("shared", picture, b"one")
    other = ask("shared", picture, b"other")
    nobody = ask("shared", picture)
    assert [answer[0][2] > 0 for answer in (first, again, other, nobody)] == [False, True, False, False]
    assert numbers(first) == pytest.approx(numbers(other), abs=1e-4)
    assert numbers(first) == pytest.approx(numbers(nobody), abs=1e-4)
