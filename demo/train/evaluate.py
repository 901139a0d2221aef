"""How often a saved model is right, asked as a user would: AutoProcessor, pictures of any size, generate."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from questions import ALONE, ONE, which
from scenes import any_aspect, any_size, draw, make_scene
from transformers import AutoModelForImageTextToText, AutoProcessor

from omega_server.model.loader import load

BATCH = 25


@dataclass(frozen=True)
class Case:
    """A question about pictures, with the one answer that is right."""

    pictures: tuple[Image.Image, ...]
    question: str
    answer: str


def cases_of(kind: str, n: int, seed: str = "evaluation") -> Iterator[Case]:
    """N cases of one type of question, equal for equal seeds. No picture was trained on; sides are 64 to 1,024 pixels."""
    rng = random.Random(f"{seed} {kind}")
    while n:
        scenes, sizes = [], []
        for _ in range({"which": 2}.get(kind, int(kind in ONE))):
            aspect = any_aspect(rng)
            longer = max(aspect, 1 / aspect)
            sizes.append(any_size(rng, aspect, 64, int(1024 / longer)))
            scenes.append(make_scene(rng, aspect, min(sizes[-1])))
        if kind in ONE:
            asked = ONE[kind](scenes[0], rng)
        else:
            asked = which(scenes[0], scenes[1], rng) if kind == "which" else ALONE[kind](rng)
        if asked:
            yield Case(tuple(draw(s, rng, *size) for s, size in zip(scenes, sizes, strict=True)), *asked)
            n -= 1


class Answerer:
    """A saved model and its processor. It computes in float32; the server's loader quantizes it, if that is wanted."""

    def __init__(self, folder: Path, quantization: str = "none") -> None:
        self.processor: Any = AutoProcessor.from_pretrained(folder)
        self.processor.tokenizer.padding_side = "left"  # so that all answers begin at the end
        self.model: Any
        if quantization == "none":
            self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        else:
            self.model = load(str(folder), "float32", "cpu", quantization)

    @torch.no_grad()
    def answers(self, cases: list[Case]) -> list[str]:
        """What the model says to each case, greedily."""
        chats = []
        for case in cases:
            content: list[dict[str, Any]] = [{"type": "image", "image": picture} for picture in case.pictures]
            chats.append([{"role": "user", "content": [*content, {"type": "text", "text": case.question}]}])
        inputs = self.processor.apply_chat_template(
            chats,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        out = self.model.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
        return self.processor.batch_decode(out, skip_special_tokens=True)


def rate(answerer: Answerer, kind: str, n: int) -> tuple[int, list[tuple[Case, str]]]:
    """(number of right answers, cases with wrong ones) of n cases of one type."""
    cases, wrong = list(cases_of(kind, n)), []
    for start in range(0, n, BATCH):
        part = cases[start : start + BATCH]
        wrong += [(c, said) for c, said in zip(part, answerer.answers(part), strict=True) if said != c.answer]
    return n - len(wrong), wrong


def right_of(folder: Path, kind: str, n: int, quantization: str = "none") -> int:
    """The number of right answers of a saved model to n cases of one type; prints it, and some wrong ones."""
    right, wrong = rate(Answerer(folder, quantization), kind, n)
    shown = [([p.size for p in case.pictures], case.question, case.answer, said[:80]) for case, said in wrong[:3]]
    print(f"{folder.name:10} {quantization:5} {kind:13} {100 * right / n:5.1f} % of {n}", *shown, flush=True)
    return right
