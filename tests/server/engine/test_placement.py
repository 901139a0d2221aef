"""Where a request goes: least to do, but near what an engine knows already."""

import torch

from omega_server.engine.pixels import share
from omega_server.engine.placement import Known, Outline, choose
from omega_server.engine.request import Medium, Prompt
from omega_server.engine.sequence import Placeholders

IMAGE = 7
MARKS = Placeholders(image=IMAGE, video=8, merge=2)


def outline(tokens, *pictures):
    """Of a prompt that begins with pictures of 64 patches, 16 tokens each, by content, in blocks of 16 tokens."""
    media = tuple(Medium("image", torch.zeros(64, 4), (1, 8, 8), key) for key in pictures)
    ids = [token for _ in pictures for token in ([1] + [IMAGE] * 16)] + list(tokens)
    return Outline.of(share(Prompt(tuple(ids), media)), MARKS, 16)


def test_the_least_outstanding_wins_if_nothing_is_known():
    """Equal costs: the engine with less to do; of equals the first."""
    assert choose([500, 100, 100], [40, 40, 40]) == 1


def test_a_conversation_stays_until_its_engine_has_much_more_to_do():
    """What an engine need not compute counts against what it has to do already."""
    assert choose([100, 0], [20, 1000]) == 0
    assert choose([990, 0], [20, 1000]) == 1
    assert choose([20, 0], [0, 20]) == 1


def test_a_known_beginning_costs_nothing():
    """A second turn costs what is new in it, from the first block that differs on."""
    known = Known(100)
    first = outline(range(100, 200))
    assert known.cost(first) == 100
    known.note(first)
    assert known.cost(first) == 4
    assert known.cost(outline(range(100, 300))) == 200 - 96
    assert known.cost(outline([5, *range(101, 200)])) == 100


def test_a_known_picture_costs_its_tokens_only():
    """The tower's work is saved wherever the picture stands, and the prefix only where all before it is the same."""
    known = Known(100)
    known.note(outline(range(100, 140), b"a"))
    assert known.cost(outline(range(100, 140), b"a")) == 57 - 48
    assert known.cost(outline(range(200, 240), b"a")) == 57 - 16
    assert known.cost(outline([*range(300, 316)], b"b", b"a")) == 50 + 64
    assert known.cost(outline(range(100, 140), b"b")) == 57 + 64


def test_no_more_is_remembered_than_the_engine_can_hold():
    """Blocks are forgotten in the order in which the engine would: least recently used first."""
    known = Known(8)
    old, new = outline(range(100, 196)), outline(range(200, 264))
    known.note(old)
    known.note(new)
    assert known.cost(new) == 0
    assert known.cost(old) == 96
