"""The demo models, and prompts for them with what `model.generate()` answers."""

import hashlib
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from omega_server.engine.engine import Engine, EngineLimits
from omega_server.engine.request import Medium, Prompt, Sampling
from omega_server.engine.scheduler import Limits
from omega_server.model.loader import load, load_processor

MODELS = Path(__file__).parents[3] / "demo"
TEXTS = (
    "hello",
    "How many shapes are there?",
    "What colour is the shape on the left?",
    "Describe the picture. " * 12,
)


@dataclass(frozen=True)
class Case:
    """A prompt and what generate() answers to it, greedily, up to its first end token."""

    name: str
    prompt: Prompt
    expected: tuple[int, ...]


class Workshop:
    """A model twice, once as transformers has it and once for engines, and cases made with it."""

    def __init__(self, path: Path, quantization: str = "none") -> None:
        self.path, self.quantization = path, quantization
        self.reference = load(str(path), "float32", "cpu", quantization)
        self.model = load(str(path), "float32", "cpu", quantization)
        self.processor = load_processor(str(path))

    def inputs(self, text: str, pictures: Iterable[tuple[int, int, int]] = (), video: int = 0) -> Any:
        """Processor outputs for a prompt with noise pictures, given as (seed, width, height), and a video of frames."""
        content: list[dict[str, Any]] = [{"type": "image"} for _ in pictures]
        if video:
            content.append({"type": "video"})
        content.append({"type": "text", "text": text})
        rendered = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        arguments: dict[str, Any] = {}
        if pictures:
            arguments["images"] = [picture(*p) for p in pictures]
        if video:
            frames = np.stack([np.asarray(picture(100 + i, 96, 64)) for i in range(video)])
            arguments["videos"] = [torch.from_numpy(frames).permute(0, 3, 1, 2)]
            arguments["videos_kwargs"] = {
                "do_sample_frames": False,
                "video_metadata": [{"fps": 2.0, "total_num_frames": video, "frames_indices": list(range(video))}],
            }
        return self.processor(text=[rendered], return_tensors="pt", **arguments)

    def case(self, name: str, length: int, inputs: Any) -> Case:
        """A case from processor outputs, with an answer of at most so many tokens."""
        answer = self.reference.generate(**inputs, max_new_tokens=length, do_sample=False)
        return Case(name, prompt_of(inputs), tuple(answer[0, inputs["input_ids"].shape[1] :].tolist()))

    def engine(self, *, blocks: int = 512, patches: int = 1024, vision_bytes: int = 1 << 26, **limits: Any) -> Engine:
        """An engine with a pool of so many blocks of 16 tokens; `limits` as in scheduler.Limits."""
        scheduling = replace(Limits(max_length=4096), **limits)
        return Engine(
            self.model,
            EngineLimits(scheduling=scheduling, blocks=blocks, vision_bytes=vision_bytes, patches=patches),
            time.monotonic,
        )


def picture(seed: int, width: int, height: int) -> Image.Image:
    """A picture with a rectangle of one colour on another, and some noise."""
    generator = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), generator.integers(0, 255, 3), dtype=np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = generator.integers(0, 255, 3)
    noise = generator.integers(0, 20, pixels.shape, dtype=np.uint8)
    return Image.fromarray(pixels // 2 + noise)


def prompt_of(inputs: Any) -> Prompt:
    """A prompt from processor outputs. Pictures stand before the video in all of these prompts."""
    media = []
    for kind, pixels, grids in (
        ("image", "pixel_values", "image_grid_thw"),
        ("video", "pixel_values_videos", "video_grid_thw"),
    ):
        start = 0
        for grid in inputs.get(grids, ()):
            part = inputs[pixels][start : start + int(grid.prod())]
            start += len(part)
            digest = hashlib.blake2b(part.numpy().tobytes() + grid.numpy().tobytes(), digest_size=16).digest()
            media.append(Medium(kind, part, tuple(grid.tolist()), digest))
    return Prompt(tuple(inputs["input_ids"][0].tolist()), tuple(media))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["model", "model-moe"])
def workshop(request: pytest.FixtureRequest) -> Workshop:
    """Each of the demo models."""
    return Workshop(MODELS / request.param)


@pytest.fixture(scope="session")
def dense() -> Workshop:
    """The dense demo model."""
    return Workshop(MODELS / "model")


@pytest.fixture(scope="session")
def model_path() -> str:
    """Of the dense demo model."""
    return str(MODELS / "model")


@pytest.fixture(
    scope="session",
    params=[(model, quantization) for model in ("model", "model-moe") for quantization in ("int8", "int4")],
    ids="-".join,
)
def quantized(request: pytest.FixtureRequest) -> Workshop:
    """Each of the demo models in each quantization."""
    model, quantization = request.param
    return Workshop(MODELS / model, quantization)


@pytest.fixture(scope="session")
def quantized_cases(quantized: Workshop) -> list[Case]:
    """Cases of all kinds for a quantized model."""
    return make_cases(quantized)


@pytest.fixture(scope="session")
def cases(workshop: Workshop) -> list[Case]:
    """Text, one and three pictures of different sizes, a video, pictures and a video; short and long."""
    return make_cases(workshop)


@pytest.fixture(scope="session")
def dense_cases(dense: Workshop) -> list[Case]:
    """The same for the dense model."""
    return make_cases(dense)


def make_cases(workshop: Workshop) -> list[Case]:
    """Cases of all kinds."""
    made = [workshop.case(f"text {i}", 16, workshop.inputs(text)) for i, text in enumerate(TEXTS)]
    for seed, (width, height) in enumerate(((64, 64), (160, 96), (96, 224))):
        made.append(workshop.case(f"picture {seed}", 16, workshop.inputs(TEXTS[2], [(seed, width, height)])))
    several = [(3, 64, 64), (4, 128, 64), (5, 96, 160)]
    made.append(workshop.case("three pictures", 16, workshop.inputs("Compare them.", several)))
    made.append(workshop.case("same pictures, other order", 16, workshop.inputs("Compare them.", several[::-1])))
    made.append(workshop.case("video", 16, workshop.inputs("What happens?", video=4)))
    made.append(workshop.case("picture and video", 16, workshop.inputs("What happens?", [(6, 96, 96)], video=6)))
    return made


@pytest.fixture(scope="session")
def run() -> Callable[..., dict[int, list[Any]]]:
    """Run an engine until it has nothing to do; what it yielded, by request id."""
    return run_until_idle


def run_until_idle(engine: Engine, yielded: dict[int, list[Any]] | None = None) -> dict[int, list[Any]]:
    """Run an engine until it has nothing to do; adds what it yielded to `yielded`, by request id."""
    yielded = {} if yielded is None else yielded
    for _ in range(5000):
        if not engine.busy:
            return yielded
        step_once(engine, yielded)
    raise AssertionError("the engine is still busy after 5000 steps")


def step_once(engine: Engine, yielded: dict[int, list[Any]]) -> None:
    """Do one step; adds what it yielded."""
    for request_id, output in engine.step():
        yielded.setdefault(request_id, []).append(output)


@pytest.fixture(scope="session")
def mixed() -> Callable[[Engine, list[Case], int, int], None]:
    """Submit so many requests of all kinds, in random order, some while others run; each must equal generate()."""

    def mixed(engine: Engine, cases: list[Case], count: int, seed: int) -> None:
        dice = random.Random(seed)
        wanted: dict[int, tuple[int, ...]] = {}
        yielded: dict[int, list[Any]] = {}
        for request_id in range(count):
            case = cases[request_id % len(cases)] if request_id < len(cases) else dice.choice(cases)
            length = dice.randint(1, 16)
            wanted[request_id] = case.expected[:length]
            engine.submit(request_id, case.prompt, Sampling(length))
            if dice.random() < 0.2:
                step_once(engine, yielded)
        run_until_idle(engine, yielded)
        for request_id, outputs in yielded.items():
            assert tuple(token.id for token in outputs) == wanted[request_id]
            finished = [token.finish_reason for token in outputs]
            assert all(reason is None for reason in finished[:-1])
            assert finished[-1] is not None
        assert len(yielded) == count
        assert engine.blocks.used == 0

    return mixed
