"""Quantized, the committed models answer nearly as often rightly as they do in float32."""

import re
from pathlib import Path

import pytest
import torch
from evaluate import Answerer, rate
from questions import TYPES

DEMO = Path(__file__).parents[2] / "demo"
KINDS = ("count_all", "count_kind", "exists", "where", "describe")  # those that are hardest, and one that is not


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def right_of_100(model: str, quantization: str) -> int:
    """Right answers to twenty cases of each of five types."""
    answerer = Answerer(DEMO / model, quantization)
    return sum(rate(answerer, kind, 20)[0] for kind in KINDS)


@pytest.mark.parametrize("model", ["model", "model-moe"])
def test_accuracy(model: str) -> None:
    """Of a hundred answers, at most one is lost to int8, and at most three to int4."""
    before = right_of_100(model, "none")
    assert before >= 90
    assert right_of_100(model, "int8") >= before - 1
    assert right_of_100(model, "int4") >= before - 3


def test_the_readme_says_how_little_is_lost() -> None:
    """Over all types int8 is within one point of float32, and int4 within three; float32 is the table above it."""
    readme = (DEMO / "README.md").read_text()
    rows = {
        kind: re.findall(rf"^\| {kind.replace('_', ' ')} \|((?: [\d.]+ % \|)+)$", readme, re.MULTILINE)
        for kind in TYPES
    }
    for kind, (alone, beside) in rows.items():
        assert shares(alone) == shares(beside)[::3], kind
    (overall,) = re.findall(r"^\| all \|(.+)$", readme, re.MULTILINE)
    dense, moe = shares(overall)[:3], shares(overall)[3:]
    for before, int8, int4 in (dense, moe):
        assert abs(int8 - before) <= 1
        assert abs(int4 - before) <= 3


def shares(cells: str) -> list[float]:
    """The numbers of a row."""
    return [float(number) for number in re.findall(r"[\d.]+", cells)]
