"""Requests to measure with: a seed and a size always give the same ones, on any machine.

Of eight requests in a row four are text only, three have one picture and one has three; half of each kind have long answers.
No two requests share a picture or a text, so that what a cache saves is not measured unless somebody sends them twice.
"""

import base64
import io
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

# fmt: off
WORDS = (
    "picture", "street", "river", "yellow", "three", "small", "behind", "window", "under", "large", "corner",
    "count", "garden", "between", "light", "north", "table", "seven", "colour", "shape", "round", "water",
    "paper", "early", "bridge", "stone", "letter", "second", "market", "empty", "green", "above", "quiet",
    "number", "line",
)
# fmt: on
PICTURES = (0, 0, 0, 0, 1, 1, 1, 3)
"""Pictures of eight requests in a row, before they are shuffled."""


@dataclass(frozen=True)
class Size:
    """How large requests are. Each pair is a range with both ends in it.

    Attributes:
        words: of a question.
        sides: of a picture, in pixels.
        short: tokens of a short answer.
        long: tokens of a long answer.
    """

    words: tuple[int, int]
    sides: tuple[int, int]
    short: tuple[int, int]
    long: tuple[int, int]


SIZES = {
    "small": Size(words=(8, 48), sides=(160, 320), short=(8, 24), long=(64, 96)),
    "medium": Size(words=(16, 320), sides=(320, 960), short=(32, 128), long=(256, 512)),
}


@dataclass(frozen=True)
class Picture:
    """A picture that its numbers describe completely: a ground, shapes on it, and noise that no file format packs away.

    Attributes:
        seed: of what it shows.
        width: in pixels.
        height: in pixels.
    """

    seed: int
    width: int
    height: int

    def draw(self) -> Image.Image:
        """The picture, RGB."""
        dice = random.Random(self.seed)  # noqa: S311 - repeatable is what it must be
        size = (self.width, self.height)
        image = Image.new("RGB", size, _colour(dice))
        pen = ImageDraw.Draw(image)
        for _ in range(6):
            left, top = dice.randrange(self.width), dice.randrange(self.height)
            right, bottom = dice.randint(left, self.width), dice.randint(top, self.height)
            shape = dice.choice((pen.rectangle, pen.ellipse))
            shape((left, top, right, bottom), fill=_colour(dice))
        noise = Image.frombytes("RGB", size, dice.randbytes(3 * self.width * self.height))
        return Image.blend(image, noise, 0.1)

    def uri(self) -> str:
        """The picture as a JPEG file in a data: URI."""
        file = io.BytesIO()
        self.draw().save(file, "JPEG", quality=85)
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


@dataclass(frozen=True)
class Request:
    """One question.

    Attributes:
        at: when it is sent, in mean gaps between requests after the first one is.
        text: the question.
        pictures: shown before it.
        tokens: of the answer.
    """

    at: float
    text: str
    pictures: tuple[Picture, ...]
    tokens: int

    def messages(self) -> list[dict[str, Any]]:
        """As the OpenAI API takes them. Encodes the pictures, so do it before the clock runs."""
        if not self.pictures:
            return [{"role": "user", "content": self.text}]
        shown = [{"type": "image_url", "image_url": {"url": picture.uri()}} for picture in self.pictures]
        return [{"role": "user", "content": [*shown, {"type": "text", "text": self.text}]}]


def generate(size: Size, count: int, seed: int) -> tuple[Request, ...]:
    """Requests in the order of their times, which are those of a Poisson process."""
    dice = random.Random(seed)  # noqa: S311 - repeatable is what it must be
    requests: list[Request] = []
    at = 0.0
    for pictures, long in itertools.islice(_kinds(dice), count):
        words = dice.choices(WORDS, k=dice.randint(*size.words))
        shown = tuple(
            Picture(dice.getrandbits(32), dice.randint(*size.sides), dice.randint(*size.sides)) for _ in range(pictures)
        )
        requests.append(Request(at, " ".join(words), shown, dice.randint(*(size.long if long else size.short))))
        at += dice.expovariate(1.0)
    return tuple(requests)


def _kinds(dice: random.Random) -> Iterator[tuple[int, bool]]:
    """Number of pictures of each request, and whether its answer is long; without end."""
    for eight in itertools.count():
        # Every other time the three-picture request is the long one.
        kinds = [(pictures, (index + eight) % 2 == 0) for index, pictures in enumerate(PICTURES)]
        yield from dice.sample(kinds, len(kinds))


def _colour(dice: random.Random) -> tuple[int, int, int]:
    return dice.randrange(256), dice.randrange(256), dice.randrange(256)
