"""Scenes and pictures: what is promised of them in demo/README.md."""

import random
from itertools import combinations

import numpy as np
import pytest
from scenes import BIGGEST, COLOURS, MOST, SMALLEST, Scene, Thing, any_aspect, apart, draw, make_scene


def some_scenes(n: int) -> list[Scene]:
    """That many scenes of chance, in forms of chance."""
    rng = random.Random("tests")
    return [make_scene(rng, any_aspect(rng)) for _ in range(n)]


def test_shapes_are_inside_and_of_the_promised_sizes() -> None:
    """Every shape lies within its picture and is 1/8 to 1/2 of the shorter side."""
    scenes = some_scenes(400)
    assert {len(scene.things) for scene in scenes} == set(range(MOST + 1))
    for scene in scenes:
        for t in scene.things:
            assert SMALLEST <= t.size <= BIGGEST
            assert t.size / 2 <= t.x <= scene.width - t.size / 2
            assert t.size / 2 <= t.y <= scene.height - t.size / 2


def test_shapes_do_not_touch() -> None:
    """Any two shapes of a scene leave ground between them."""
    for scene in some_scenes(400):
        for a, b in combinations(scene.things, 2):
            assert apart((a.x, a.y, a.size), (b.x, b.y, b.size))


def test_shapes_are_anywhere() -> None:
    """Centres are found in every one of 8 x 8 parts of the picture's middle: there is no grid."""
    found = set()
    for scene in some_scenes(2000):
        for t in scene.things:
            found.add((int(t.x / scene.width * 10), int(t.y / scene.height * 10)))
    assert {(x, y) for x in range(1, 9) for y in range(1, 9)} <= found


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "star"])
def test_a_drawn_shape_has_its_colour_where_it_is_and_nowhere_else(colour: str, shape: str) -> None:
    """The middle of a drawn shape has the colour's levels; the pixels outside its box are the ground's."""
    rng = random.Random(f"{colour} {shape}")
    scene = Scene(1.0, 1.0, (Thing(colour, shape, 0.3, 0.6, 0.4),))
    pixels = np.asarray(draw(scene, rng, 500, 500, noisy=0)).astype(int)
    for level, (low, high) in zip(pixels[300, 150], COLOURS[colour], strict=True):
        assert low <= level <= high
    assert abs(pixels[300, 150] - pixels[300, 400]).sum() > 60
    across, down = slice(38, 262), slice(188, 412)  # a tilted square is a tenth wider
    outside = np.ones((500, 500), bool)
    outside[down, across] = False
    ground = np.where(outside[..., None], pixels, pixels[:, -1:])
    assert abs(ground - pixels[:, -1:]).max() <= 2  # a slope of the ground has one colour in each row


def test_a_mirrored_scene_has_left_and_right_exchanged() -> None:
    """Mirroring twice is the scene itself, once moves each centre to the other side."""
    for scene in some_scenes(20):
        mirrored = scene.mirrored()
        for t, m in zip(scene.things, mirrored.things, strict=True):
            assert (m.x, m.y, m.colour, m.shape) == (scene.width - t.x, t.y, t.colour, t.shape)
