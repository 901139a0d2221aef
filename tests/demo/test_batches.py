"""What the model sees in training is what it will see when it is served."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from album import Page
from batches import Batches, Look, labels_of
from fit import Helpers, Lesson
from PIL import Image
from processor import CELL, grid_of
from questions import NO_PICTURE
from scenes import KINDS, Scene, Thing, draw, make_scene
from transformers import AutoProcessor

from model import make_model

DEMO = Path(__file__).parents[2] / "demo"
GRID = (4, 7)


@pytest.fixture(scope="module")
def processor() -> Any:
    """The committed processor."""
    return AutoProcessor.from_pretrained(DEMO / "model")


@pytest.fixture(scope="module")
def pictures() -> tuple[list[Scene], list[Image.Image]]:
    """Four scenes of 16:9 and their pictures, in just the size that the processor gives them."""
    rng = random.Random("batches")
    scenes = [make_scene(rng, 7 / 4) for _ in range(4)]
    return scenes, [draw(scene, rng, GRID[1] * CELL, GRID[0] * CELL) for scene in scenes]


def test_training_and_serving_give_equal_answers(
    processor: Any, pictures: tuple[list[Scene], list[Image.Image]]
) -> None:
    """The loss of two rows in training is that of their chats through the processor and the whole model."""
    scenes, drawn = pictures
    torch.manual_seed(0)
    model = make_model(processor.tokenizer).eval()
    page = Page(scenes, torch.from_numpy(np.stack([np.asarray(picture) for picture in drawn])))
    batches = Batches(processor.tokenizer, {GRID: scenes}, steps=1, rows=2, worker=0)
    asked = [("How many?", "12"), ("What is this?", NO_PICTURE)]
    rows = [([0], 0), ([1, 2], 1)]
    packed = [
        batches._row(random.Random(5), dict([asked[q]]), [Look(GRID, i, mirrored=False) for i in looks])
        for looks, q in rows
    ]
    with torch.no_grad():
        loss, told = Lesson(model, {GRID: page}, Helpers())(batches.pack(packed))
        sums = torch.zeros(2)
        for looks, q in rows:
            content: list[dict[str, Any]] = [{"type": "image", "image": drawn[i]} for i in looks]
            chat = [{"role": "user", "content": [*content, {"type": "text", "text": asked[q][0]}]}]
            chat.append({"role": "assistant", "content": asked[q][1]})
            inputs = processor.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt")
            n = len(processor.tokenizer(asked[q][1])["input_ids"]) + 1
            ids = inputs["input_ids"][0, :-1]  # the template's last line break is not trained
            logits = model(**inputs).logits[0]
            each = torch.nn.functional.cross_entropy(logits[len(ids) - n - 1 : len(ids) - 1], ids[-n:])
            sums += torch.tensor([each * n**0.5, n**0.5])
    assert told["answers"] == pytest.approx((sums[0] / sums[1]).item(), rel=1e-4)
    assert loss > told["answers"]


def test_a_question_does_not_see_the_others(processor: Any, pictures: tuple[list[Scene], list[Image.Image]]) -> None:
    """In a row that is not chained, each question sees the prefix and itself."""
    batches = Batches(processor.tokenizer, {GRID: pictures[0]}, steps=1, rows=1, worker=0)
    rng = next(r for r in map(random.Random, range(99)) if batches._row(r, {"a": "b", "c": "d"}, [])[2][-1] == 2)
    row = batches._row(rng, {"How many?": "1", "Where?": "top"}, [Look(GRID, 0, mirrored=False)])
    batch, block = batches.pack([row]), row[2]
    mask = batch["mask"][0, 0]
    for i, own in enumerate(block):
        for j in range(i + 1):
            assert mask[i, j] == (block[j] in {0, own})
        assert not mask[i, i + 1 : len(block)].any()


def test_labels_are_where_the_shapes_are() -> None:
    """The cell with the centre is named and counted, the cells that the shape covers are named as covered."""
    big, small = Thing("red", "circle", 0.5, 0.5, 0.5), Thing("red", "star", 1.6, 0.1, 0.125)
    labels = labels_of(Scene(1.75, 1, (big, small)), GRID)
    centre, ranks = labels["centre"].reshape(GRID), labels["ranks"].reshape(*GRID, 3)
    assert {(2, 2): 1 + KINDS.index(("red", "circle")), (0, 6): 1 + KINDS.index(("red", "star"))} == {
        (int(r), int(c)): centre[r, c] for r, c in zip(*np.nonzero(centre), strict=True)
    }
    assert ranks[0, 6].tolist() == [1, 1, 1]  # the first in reading order
    assert ranks[2, 2].tolist() == [2, 2, 1]
    assert (labels["cover"] == 1 + KINDS.index(("red", "circle"))).sum() == 4
    assert labels["at"].reshape(*GRID, 2)[2, 2] == pytest.approx([0.5 / 1.75, 0.5])


@pytest.mark.parametrize("size", [(64, 64), (1024, 576), (300, 533), (640, 480), (97, 131), (4000, 3000)])
def test_pictures_of_any_size_become_few_tokens(processor: Any, size: tuple[int, int]) -> None:
    """The processor makes 20 to 35 visual tokens of a picture, in the grid that training reckons with."""
    inputs = processor.image_processor(images=[Image.new("RGB", size)], return_tensors="pt")
    rows, columns = (int(n) // 2 for n in inputs["image_grid_thw"][0, 1:])
    assert (rows, columns) == grid_of(*size)
    assert 20 <= rows * columns <= 35
