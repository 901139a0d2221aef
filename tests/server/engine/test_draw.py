"""Draws against transformers' logits warpers and against a plain sort, whatever shortcut they take."""

import random

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from omega_server.engine.draw import Group, Scores, kind, scramble, uniforms
from omega_server.engine.request import Sampling

CPU = torch.device("cpu")


def logits(rows, vocabulary, spread=4.0, seed=0, steps=None):
    """Random logits; with `steps` only so many different ones in a unit, as bfloat16 has few."""
    made = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * spread
    return made if steps is None else (made * steps).round() / steps


def sampling(**parameters):
    """A random one."""
    return Sampling(max_tokens=1, **{"temperature": 1.0, **parameters})


def warped(row, s):
    """[vocabulary] the probabilities that transformers' warpers leave."""
    steps = LogitsProcessorList([TemperatureLogitsWarper(s.temperature)])
    if s.top_k > 0:
        steps.append(TopKLogitsWarper(s.top_k))
    if s.top_p < 1:
        steps.append(TopPLogitsWarper(s.top_p))
    if s.min_p > 0:
        steps.append(MinPLogitsWarper(s.min_p))
    return steps(torch.empty(1, 0, dtype=torch.long), row[None].double())[0].softmax(-1)


def drawn(row, s, count):
    """How often each token comes when the uniform numbers are spread evenly."""
    group = Group(list(range(count)), [s] * count, len(row), CPU)
    even = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    _, tokens = group.draw(Scores(row.expand(count, -1).contiguous()), even)
    return torch.bincount(tokens, minlength=len(row))


FILTERS = [
    {},
    {"temperature": 0.3},
    {"temperature": 2.0, "min_p": 0.1},
    {"min_p": 0.0005, "temperature": 1.7},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 64, "top_p": 0.7},
    {"top_k": 63, "min_p": 0.02},
    {"top_k": 700, "temperature": 1.5},
    {"top_k": 3000},
    {"top_k": -1, "top_p": 0.4},
    {"top_p": 0.99, "temperature": 1.5},
    {"top_p": 0.9, "min_p": 0.01, "top_k": 40},
    {"top_p": 0.001},
]


@pytest.mark.parametrize("spread", [0.1, 2.0, 8.0], ids=["flat", "usual", "peaked"])
@pytest.mark.parametrize("parameters", FILTERS, ids=str)
def test_evenly_spread_numbers_give_each_token_its_share(parameters, spread):
    """Of 2000 even draws each token gets its probability by transformers, to one draw, and an excluded token none."""
    row = logits(1, 2048, spread)[0]
    s = sampling(**parameters)
    expected = warped(row, s)
    counts = drawn(row, s, 2000)
    assert counts[expected == 0].sum() == 0
    assert (counts - expected * 2000).abs().max() <= 1.01


@pytest.mark.parametrize("vocabulary", [2048, 2050, 97, 3])
def test_any_size_of_vocabulary(vocabulary):
    """Spans are as long as divides the vocabulary; a top_k or a window beyond it is all of it."""
    row = logits(1, vocabulary)[0]
    for s in (sampling(top_k=2), sampling(top_k=5000), sampling(top_p=0.5), sampling()):
        assert (drawn(row, s, 500) - warped(row, s) * 500).abs().max() <= 1.01
    assert Scores(row[None].contiguous()).greedy().item() == row.argmax()


@pytest.mark.parametrize("parameters", [{"top_p": 0.05}, {"top_p": 0.3}, {"top_p": 0.9}, {"min_p": 0.02}], ids=str)
def test_more_are_looked_at_until_they_are_enough(parameters):
    """Where the draw is among hundreds, thousands or most of a large vocabulary, each token still gets its share."""
    row = logits(1, 40960, 1.0)[0]
    s = sampling(**parameters)
    expected, counts = warped(row, s), drawn(row, s, 100)
    assert (expected > 0).sum() > 64
    assert counts[expected == 0].sum() == 0
    assert (counts - expected * 100).abs().max() <= 1.01


@pytest.mark.parametrize("count", [1, 7, 64, 200, 1000, 1024])
def test_largest_against_a_sort(count):
    """The largest are those of a stable sort, but for ties with the last one."""
    many = logits(30, 1024, steps=2)
    values, tokens = Scores(many).largest(torch.arange(30), count)
    expected, order = many.sort(dim=-1, descending=True, stable=True)
    assert torch.equal(values, expected[:, :count])
    sure = (values > values[:, -1:]) | (count == 1024)
    assert torch.equal(tokens[sure], order[:, :count][sure])


def test_greedy_takes_the_lowest_of_equal_ones():
    """As argmax does, wherever the equal ones are."""
    many = logits(200, 1024, steps=1)
    assert torch.equal(Scores(many).greedy(), many.argmax(-1))


def test_ties_do_not_depend_on_the_company():
    """With many equal logits a row gets the same alone and between rows of any other parameters."""
    dice = random.Random(5)
    parameters = [sampling(**dice.choice(FILTERS)) for _ in range(60)]
    many = logits(60, 1024, steps=1)
    uniform = torch.rand(60, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    together = torch.empty(60, dtype=torch.long)
    scores = Scores(many)
    for wanted in {kind(s, 1024) for s in parameters}:
        rows = [row for row, s in enumerate(parameters) if kind(s, 1024) == wanted]
        index, tokens = Group(rows, [parameters[row] for row in rows], 1024, CPU).draw(scores, uniform[rows])
        together[index] = tokens
    for row, s in enumerate(parameters):
        _, alone = Group([0], [s], 1024, CPU).draw(Scores(many[row : row + 1]), uniform[row : row + 1])
        assert alone.item() == together[row]


@pytest.mark.parametrize("parameters", FILTERS, ids=str)
def test_what_is_banned_never_comes(parameters):
    """A logit of minus infinity has no probability, not even at the ends of the uniform numbers."""
    row = torch.full((1024,), -torch.inf)
    row[[0, 500, 1023]] = torch.tensor([1.0, 1.0, 1.0])
    group = Group([0, 1, 2], [sampling(**parameters)] * 3, 1024, CPU)
    ends = torch.tensor([0.0, 0.5, 1.0 - 2.0**-53], dtype=torch.float64)
    _, tokens = group.draw(Scores(row.expand(3, -1).contiguous()), ends)
    assert set(tokens.tolist()) <= {0, 500, 1023}


def test_the_coldest_temperature_is_greedy():
    """A temperature near zero neither overflows nor draws anything but the largest."""
    row = logits(1, 1024)[0]
    for parameters in ({}, {"top_k": 5}, {"top_p": 0.5}):
        counts = drawn(row, sampling(temperature=1e-300, **parameters), 50)
        assert counts[row.argmax()] == 50


def test_uniform_numbers():
    """They fill [0, 1) evenly, and neither seeds nor positions repeat each other."""
    numbers = [uniforms([scramble(seed)] * 500, list(range(500))) for seed in (0, 1, 2**63 - 1, -(2**63))]
    flat = [float(number) for some in numbers for number in some]
    assert len(set(flat)) == 2000
    assert 0 <= min(flat) < 0.005
    assert 0.995 < max(flat) < 1
    assert all(abs(some.mean() - 0.5) < 0.05 for some in numbers)
