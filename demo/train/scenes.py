"""Scenes of coloured shapes, and the pictures drawn from them.

A scene is measured in units of the picture's shorter side, so that a size of 0.25 is a quarter of it whatever the
picture's form. The same scene can be drawn at any resolution.
"""

import math
import random
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "triangle", "star")
# Lowest and highest red, green and blue of what we call by this name.
COLOURS = {
    "red": ((185, 255), (0, 60), (0, 60)),
    "green": ((0, 70), (115, 230), (0, 90)),
    "blue": ((0, 75), (0, 115), (175, 255)),
    "yellow": ((225, 255), (200, 255), (0, 80)),
    "purple": ((110, 170), (0, 75), (120, 210)),
    "black": ((0, 40), (0, 40), (0, 40)),
}
KINDS = [(colour, shape) for colour in COLOURS for shape in SHAPES]
MOST = 6  # shapes in one picture
SMALLEST, BIGGEST = 1 / 8, 1 / 2  # size of a shape, in shorter sides
FEWEST_PIXELS = 11  # a smaller shape cannot be told from another by anybody
APART = 0.25  # centres, along the axis where they are farther apart, in shorter sides
ASPECTS = (1.0, 1.0, 1.0, 4 / 3, 3 / 2, 16 / 9)
LARGEST_BY_COUNT = (0.5, 0.5, 0.5, 0.45, 0.4, 0.36, 0.33)  # so that the shapes fit


@dataclass(frozen=True)
class Thing:
    """One shape: its centre and its size, in shorter sides of the picture."""

    colour: str
    shape: str
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Scene:
    """Up to six shapes that do not touch, on a ground of `width` x `height` shorter sides."""

    width: float
    height: float
    things: tuple[Thing, ...] = ()

    def mirrored(self) -> "Scene":
        """The scene as seen in a mirror: left is right."""
        return replace(self, things=tuple(replace(t, x=self.width - t.x) for t in self.things))


def extent(aspect: float) -> tuple[float, float]:
    """Width and height in shorter sides of a picture whose width is `aspect` times its height."""
    return max(aspect, 1.0), max(1 / aspect, 1.0)


def any_aspect(rng: random.Random) -> float:
    """Width over height, 9:16 to 16:9, most often one that cameras and screens have."""
    aspect = rng.choice(ASPECTS) if rng.random() < 0.6 else math.exp(rng.uniform(0, math.log(16 / 9)))
    return 1 / aspect if rng.random() < 0.35 else aspect


def make_scene(rng: random.Random, aspect: float = 1.0, pixels: int = 1024) -> Scene:
    """A scene of 0 to 6 shapes, each big enough to be drawn with a shorter side of `pixels`."""
    width, height = extent(aspect)
    n = rng.choice((0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 6))
    smallest = max(SMALLEST, FEWEST_PIXELS / pixels)
    while True:
        spots = _aligned(rng, n, width, height, smallest) if rng.random() < 0.25 else None
        spots = spots or _scattered(rng, n, width, height, smallest)
        if spots is not None:
            break
    colours = rng.sample(list(COLOURS), rng.randint(1, 5))
    shapes = rng.sample(SHAPES, rng.randint(1, 4))
    return Scene(width, height, tuple(Thing(rng.choice(colours), rng.choice(shapes), *spot) for spot in spots))


def _scattered(
    rng: random.Random, n: int, width: float, height: float, smallest: float
) -> list[tuple[float, float, float]] | None:
    """(x, y, size) of n shapes anywhere, or None where they happened not to fit."""
    largest = LARGEST_BY_COUNT[n]
    sizes = sorted((math.exp(rng.uniform(math.log(smallest), math.log(largest))) for _ in range(n)), reverse=True)
    placed: list[tuple[float, float, float]] = []
    for size in sizes:
        for _ in range(40):
            edge = size / 2 + 0.01
            spot = (rng.uniform(edge, width - edge), rng.uniform(edge, height - edge), size)
            if all(apart(spot, other) for other in placed):
                placed.append(spot)
                break
        else:
            return None
    rng.shuffle(placed)
    return placed


def apart(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    """Whether two shapes (x, y, size) leave some ground between them."""
    distance = max(abs(one[0] - other[0]), abs(one[1] - other[1]))
    return distance >= max(APART, (one[2] + other[2]) / 2 + 0.02)


def _aligned(
    rng: random.Random, n: int, width: float, height: float, smallest: float
) -> list[tuple[float, float, float]] | None:
    """(x, y, size) of n shapes in tidy rows, as people like to draw them, or None where they cannot be so."""
    columns = rng.choice([k for k in (1, 2, 3, 4, 6) if k <= max(1, n)])
    rows = math.ceil(n / columns) + rng.choice((0, 0, 1))
    if not n or width / columns < APART + 0.03 or height / rows < APART + 0.03:
        return None
    pitch = min(width / columns, height / rows)
    size = rng.uniform(0.45, 0.88) * pitch
    if not smallest <= size <= BIGGEST:
        return None
    cells = rng.sample(range(rows * columns), n)
    return [((c % columns + 0.5) * width / columns, (c // columns + 0.5) * height / rows, size) for c in cells]


def draw(scene: Scene, rng: random.Random, width: int, height: int, *, noisy: float = 0.35) -> Image.Image:
    """The scene as an RGB picture of width x height pixels, on a ground of chance, with grain by the chance `noisy`."""
    fine = 2 if max(width, height) <= 400 and rng.random() < 0.6 else 1  # half of the pictures have soft edges
    w, h = width * fine, height * fine
    image = _ground(rng, w, h)
    pen = ImageDraw.Draw(image)
    tilted, outlined = rng.random() < 0.25, rng.random() < 0.1
    for thing in scene.things:
        fill = tuple(rng.randint(*bounds) for bounds in COLOURS[thing.colour])
        points = outline(thing, math.radians(rng.uniform(-14, 14)) if tilted else 0.0)
        at = [(x / scene.width * w, y / scene.height * h) for x, y in points]
        line = tuple(v // 2 for v in fill) if outlined else fill
        if thing.shape == "circle":
            pen.ellipse((*at[0], *at[1]), fill=fill, outline=line)
        else:
            pen.polygon(at, fill=fill, outline=line)
    if fine > 1:
        image = image.resize((width, height), Image.Resampling.BOX)
    return _noisy(image, rng) if rng.random() < noisy else image


def outline(thing: Thing, tilt: float) -> list[tuple[float, float]]:
    """Corners of a shape in shorter sides; of a circle, the two corners of the box around it."""
    r = thing.size / 2
    if thing.shape == "circle":
        return [(thing.x - r, thing.y - r), (thing.x + r, thing.y + r)]
    if thing.shape == "square":
        corners = [(0.9 * sx, 0.9 * sy) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    elif thing.shape == "triangle":
        corners = [(0, -0.95), (0.98, 0.85), (-0.98, 0.85)]
    else:
        lengths = [1, 0.42] * 5
        corners = [(k * math.sin(i * math.pi / 5), -k * math.cos(i * math.pi / 5)) for i, k in enumerate(lengths)]
    s, c = math.sin(tilt), math.cos(tilt)
    return [(thing.x + r * (x * c - y * s), thing.y + r * (x * s + y * c)) for x, y in corners]


def _ground(rng: random.Random, w: int, h: int) -> Image.Image:
    """White, a light colour, a grey, or a light slope from one colour to another."""
    chance = rng.random()
    if chance < 0.4:
        return Image.new("RGB", (w, h), (255, 255, 255))
    light = tuple(rng.randint(195, 255) for _ in range(3))
    if chance < 0.75:
        return Image.new("RGB", (w, h), light)
    if chance < 0.87:
        return Image.new("RGB", (w, h), (rng.randint(140, 200),) * 3)
    other = tuple(rng.randint(195, 255) for _ in range(3))
    slope = Image.linear_gradient("L").resize((w, h))
    return Image.composite(Image.new("RGB", (w, h), light), Image.new("RGB", (w, h), other), slope)


def _noisy(image: Image.Image, rng: random.Random) -> Image.Image:
    """The picture with grain of up to 18 of 255 levels, as a camera or a strong compression would leave it."""
    dice = np.random.default_rng(rng.randrange(2**32))
    grain = dice.standard_normal((image.height, image.width, 1), np.float32) * rng.uniform(3, 18)
    return Image.fromarray(np.clip(np.asarray(image, np.float32) + grain, 0, 255).astype(np.uint8))


def any_size(rng: random.Random, aspect: float, shortest: int, longest: int) -> tuple[int, int]:
    """(width, height) in pixels of about this aspect, its shorter side between the two numbers."""
    side = round(math.exp(rng.uniform(math.log(shortest), math.log(longest))))
    width, height = extent(aspect)
    return round(side * width), round(side * height)
