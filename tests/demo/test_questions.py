"""Questions have the right answers: judged by scenes whose answers are plain."""

import random
from collections.abc import Callable
from functools import partial

import pytest
from questions import ALONE, ONE, PLACES, UNKNOWN, Asked, describe, in_order, where, which
from scenes import COLOURS, SHAPES, Scene, Thing

RED_CIRCLE = Thing("red", "circle", 0.2, 0.2, 0.2)
BLUE_SQUARE = Thing("blue", "square", 0.8, 0.22, 0.3)
BLUE_STAR = Thing("blue", "star", 0.5, 0.85, 0.2)
THREE = Scene(1, 1, (BLUE_STAR, BLUE_SQUARE, RED_CIRCLE))
EMPTY = Scene(1, 1)


def asked(ask: Callable[[random.Random], Asked], n: int = 300) -> list[tuple[str, str]]:
    """Every (question, answer) of n tries, the question in small letters."""
    tries = (ask(random.Random(f"tests {i}")) for i in range(n))
    return [(question.lower(), answer) for question, answer in filter(None, tries)]


def test_colour_is_that_of_the_shape_that_is_named() -> None:
    """Only shapes that are unique are asked about, and each has its own colour."""
    for question, answer in asked(lambda rng: ONE["colour"](THREE, rng)):
        right = {"circle": "red", "square": "blue", "star": "blue"}
        assert answer == next(colour for shape, colour in right.items() if shape in question)


def test_shape_is_asked_of_a_colour_that_is_there_once() -> None:
    """There are two blue things, so the only question that fits is about the red one."""
    found = asked(lambda rng: ONE["shape"](THREE, rng))
    assert found
    assert all("red" in question and answer == "circle" for question, answer in found)


@pytest.mark.parametrize("kind", ["count_all", "count_colour", "count_shape", "count_kind"])
def test_counts(kind: str) -> None:
    """The answer is the number of things that have the colour and the shape of the question."""
    for question, answer in asked(lambda rng: ONE[kind](THREE, rng)):
        colours = [c for c in COLOURS if c in question]
        shapes = [s for s in SHAPES if f"{s}s" in question]
        fits = [t for t in THREE.things if (not colours or t.colour in colours) and (not shapes or t.shape in shapes)]
        assert answer == str(len(fits))


def test_exists() -> None:
    """Yes where one thing has both the colour and the shape of the question."""
    answers = set()
    for question, answer in asked(lambda rng: ONE["exists"](THREE, rng)):
        colours = [c for c in COLOURS if c in question]
        shapes = [s for s in SHAPES if s in question]
        fits = [t for t in THREE.things if (not colours or t.colour in colours) and (not shapes or t.shape in shapes)]
        assert answer == ("yes" if fits else "no")
        answers.add(answer)
    assert answers == {"yes", "no"}


def test_where_tells_one_of_nine_places() -> None:
    """A thing in the middle of each ninth of a wide picture is where its ninth is."""
    places = [place for row in PLACES for place in row]
    for i, place in enumerate(places):
        thing = Thing("red", "circle", (i % 3 + 0.5) / 3 * 1.6, (i // 3 + 0.5) / 3, 0.2)
        scene = Scene(1.6, 1, (thing,))
        assert {answer for _, answer in asked(partial(where, scene), 20)} == {place}


def test_where_is_not_asked_near_a_border() -> None:
    """A third of the way across, people would not agree."""
    assert not asked(lambda rng: where(Scene(1, 1, (Thing("red", "circle", 1 / 3, 0.5, 0.2),)), rng))


def test_describe_names_things_in_reading_order() -> None:
    """Circle and square are in one row, so left before right; the star is below them."""
    answers = {answer for _, answer in asked(lambda rng: describe(THREE, rng))}
    assert answers == {"A red circle, a blue square and a blue star."}
    assert {answer for _, answer in asked(lambda rng: describe(EMPTY, rng))} == {"There are no shapes."}


def test_describe_is_not_asked_where_the_order_is_not_clear() -> None:
    """Centres a tenth of the height apart are neither in one row nor clearly in two."""
    assert in_order(Scene(1, 1, (RED_CIRCLE, Thing("blue", "square", 0.8, 0.3, 0.2)))) is None


def test_describe_counts_where_there_are_many() -> None:
    """More than four shapes are not named one by one."""
    five = Scene(1, 1, tuple(Thing("red", "circle", 0.5, 0.1 + 0.2 * i, 0.125) for i in range(5)))
    assert {answer for _, answer in asked(lambda rng: describe(five, rng))} == {"There are 5 shapes."}


def test_which_of_two_pictures() -> None:
    """Asked only where one picture has the thing and the other does not."""
    assert {answer for _, answer in asked(lambda rng: which(EMPTY, THREE, rng))} == {"The second."}
    assert {answer for _, answer in asked(lambda rng: which(THREE, EMPTY, rng))} == {"The first."}
    assert not asked(lambda rng: which(THREE, THREE, rng))


def test_questions_come_in_many_wordings_and_cases() -> None:
    """No two people type the same: small letters, capitals, with and without a mark."""
    found = {question for i in range(500) if (got := ONE["count_all"](THREE, random.Random(i))) for question in got[:1]}
    assert len(found) > 60
    assert any(q.isupper() for q in found)
    assert any(q.islower() for q in found)
    assert any(q.endswith("?") for q in found)
    assert any(q[-1].isalpha() for q in found)


def test_what_cannot_be_known_is_said_so() -> None:
    """An unknown question has one answer whatever it is about."""
    assert {answer for _, answer in asked(ALONE["unknown"])} == {UNKNOWN}
