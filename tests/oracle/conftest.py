"""What the fork recorded (tools/oracle), and the same checkpoints loaded by the server's own loader."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from omega_server.model import loader

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One question, and what the fork made of it."""

    family: str
    name: str
    messages: list[dict[str, Any]]
    videos: list[dict[str, Any]]
    input_ids: list[int]
    grids: dict[str, list[list[int]]]
    tokens: list[int]

    def media(self, kind: str) -> list[Image.Image]:
        """The media of one kind, in order; a video is its frames stacked downwards."""
        parts = [
            part for message in self.messages if not isinstance(message["content"], str) for part in message["content"]
        ]
        return [Image.open(HERE / "media" / f"{part[kind]}.png") for part in parts if part["type"] == kind]


def recorded(family: str) -> list[Case]:
    """The cases of one family."""
    content = json.loads((HERE / "recorded" / f"{family}.json").read_text())
    return [Case(family=family, **case) for case in content["cases"]]


FAMILIES = ("omega17_vl", "omega17_vl_exp")
CASES = [case for family in FAMILIES for case in recorded(family)]


class Checkpoint:
    """One checkpoint that the fork wrote, as the server loads it."""

    def __init__(self, family: str) -> None:
        self.path = HERE / "checkpoints" / family
        self.logits = load_file(HERE / "recorded" / f"{family}.safetensors")

    @cached_property
    def model(self) -> Any:
        """In float32 on the CPU."""
        return loader.load(str(self.path), "float32", "cpu")

    @cached_property
    def processor(self) -> Any:
        """The processor that belongs to it."""
        return loader.load_processor(str(self.path))

    def process(self, case: Case) -> Any:
        """The processor's tensors for a case, made the way the recording made them."""
        text = self.processor.apply_chat_template(case.messages, tokenize=False, add_generation_prompt=True)
        arguments: dict[str, Any] = {"text": [text], "images": case.media("image") or None, "return_tensors": "pt"}
        if case.videos:
            (stacked,), (video,) = case.media("video"), case.videos
            count = video["frames"]
            arguments["videos"] = [np.array(stacked).reshape(count, -1, stacked.width, 3)]
            arguments["do_sample_frames"] = video["sample"]
            arguments["video_metadata"] = [
                {"fps": video["fps"], "total_num_frames": count, "frames_indices": list(range(count))}
            ]
        return self.processor(**arguments)


@pytest.fixture(scope="session")
def checkpoints() -> dict[str, Checkpoint]:
    """Both checkpoints, loaded when first used."""
    torch.set_num_threads(1)
    return {family: Checkpoint(family) for family in FAMILIES}


@pytest.fixture(scope="session")
def recordings() -> list[Case]:
    """Every case of both families."""
    return CASES


@pytest.fixture(params=CASES, ids=lambda case: f"{case.family}-{case.name.replace(' ', '-')}")
def case(request: pytest.FixtureRequest) -> Case:
    """Each question, of each family."""
    return request.param


@pytest.fixture
def checkpoint(checkpoints: dict[str, Checkpoint], case: Case) -> Checkpoint:
    """The checkpoint that the question was put to."""
    return checkpoints[case.family]
