"""The committed models answer as demo/README.md says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from evaluate import Answerer, Case, rate
from PIL import Image
from questions import TYPES
from twin import Routing

DEMO = Path(__file__).parents[2] / "demo"
MODELS = ["model", "model-moe"]
ACCURATE = 0.8  # of 20 cases of each type; the table in the README has 200
LOST_BY_WRONG_EXPERTS = 8  # of 100


@pytest.fixture(scope="module", params=MODELS)
def answerer(request: pytest.FixtureRequest) -> Iterator[Answerer]:
    """Each of the two models, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Answerer(DEMO / request.param)
    torch.set_num_threads(threads)


def demo_cases() -> list[Case]:
    """The ten demo pictures."""
    listed = json.loads((DEMO / "pictures" / "questions.json").read_text())
    return [
        Case((Image.open(DEMO / "pictures" / entry["file"]).convert("RGB"),), entry["question"], entry["answer"])
        for entry in listed
    ]


def test_demo_pictures(answerer: Answerer) -> None:
    """At least nine of the ten demo pictures are answered rightly, each asked alone."""
    right = sum(answerer.answers([case]) == [case.answer] for case in demo_cases())
    assert right >= 9


@pytest.mark.parametrize("kind", TYPES)
def test_accuracy(answerer: Answerer, kind: str) -> None:
    """A small sample of unseen cases of each type is answered rightly for the most part."""
    right, wrong = rate(answerer, kind, 20)
    assert right >= 20 * ACCURATE, [(case.question, case.answer, said) for case, said in wrong]


def test_both_models_fit_in_ten_megabytes() -> None:
    """The two models together, all files, are at most 10 MB."""
    files = [file for model in MODELS for file in (DEMO / model).iterdir()]
    assert sum(file.stat().st_size for file in files) <= 10_000_000


def test_both_models_share_one_processor() -> None:
    """Tokenizer, chat template and picture sizes are equal, byte for byte."""
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "chat_template.jinja"):
        assert (DEMO / "model" / name).read_bytes() == (DEMO / "model-moe" / name).read_bytes()


def test_every_expert_is_used_and_each_for_its_own() -> None:
    """In each layer of the twin every expert gets its share of tokens; routed to its neighbours, answers are lost."""
    twin = Answerer(DEMO / "model-moe")
    routing = Routing(twin.model)
    kinds = ("colour", "count_shape", "exists", "where", "describe")
    before = sum(rate(twin, kind, 20)[0] for kind in kinds)
    assert routing.shares().min() >= 0.1
    for layer in twin.model.model.language_model.layers:
        for weights in (layer.mlp.experts.gate_up_proj, layer.mlp.experts.down_proj):
            weights.data = weights.data.roll(1, 0)
    after = sum(rate(twin, kind, 20)[0] for kind in kinds)
    assert after <= before - LOST_BY_WRONG_EXPERTS


def test_every_byte_can_be_written(answerer: Answerer) -> None:
    """Text in any script comes back from the tokenizer as it went in."""
    tokenizer = answerer.processor.tokenizer
    text = "Grüße, 你好, 🙂\t\x01 HOW many <squares>?\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_readme_has_the_table_of_every_type() -> None:
    """The accuracy table names each type once, with two numbers of at least 90 % each."""
    readme = (DEMO / "README.md").read_text()
    for kind in TYPES:
        row = re.search(rf"^\| {kind.replace('_', ' ')} \| ([\d.]+) % \| ([\d.]+) % \|$", readme, re.MULTILINE)
        assert row, kind
        assert all(float(number) >= 90 for number in row.groups()), kind


def test_demo_pictures_are_of_many_forms() -> None:
    """There are ten, of different types of question, most of them not square."""
    cases = demo_cases()
    sizes = {case.pictures[0].size for case in cases}
    assert len(cases) == 10
    assert sum(width != height for width, height in sizes) >= 5
    assert len({case.question for case in cases}) >= 9
