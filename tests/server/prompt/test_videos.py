"""Videos stand in prompts as transformers' own processor has them, from the file to the last patch."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers.video_utils import load_video

from films import film
from omega_server.engine.attach import attach
from omega_server.engine.request import ContextLengthExceeded
from omega_server.media.clip import Choice, Clip, VideoLimits
from omega_server.media.picture import Picture
from omega_server.media.video import decode
from omega_server.prompt.builder import PromptBuilder
from omega_server.prompt.messages import Turn
from omega_server.prompt.processor import Processor

ROOT = Path(__file__).parents[3]
DEMO = str(ROOT / "demo" / "model")
MODELS = (
    DEMO,
    *(str(ROOT / "tests" / "oracle" / "checkpoints" / family) for family in ("omega17_vl", "omega17_vl_exp")),
)
LIMITS = VideoLimits(max_bytes=1 << 20, max_seconds=60)


@pytest.fixture(scope="module", params=MODELS, ids=lambda path: Path(path).name)
def processor(request: pytest.FixtureRequest) -> Processor:
    """Of each family."""
    return Processor(request.param, 1 << 20)


@pytest.fixture(scope="module")
def demo() -> Processor:
    """The demo model's."""
    return Processor(DEMO, 8192)


def choice(processor: Processor, **change: Any) -> Choice:
    """What is taken when nothing is asked for, but for a change."""
    defaults = processor.videos.defaults
    usual = Choice(defaults.fps, None, defaults.min_frames, defaults.max_frames, 1024, unit=defaults.unit)
    return replace(usual, **change)


def clip(frames: int, width: int, height: int, seed: int = 0, fps: float = 2.0) -> Clip:
    """Frames of noise."""
    rgb = random.Random(seed).randbytes(frames * width * height * 3)
    return Clip(width, height, rgb, tuple(range(frames)), frames, fps)


@pytest.mark.parametrize(
    ("video", "asked", "change"),
    [
        ({}, {"fps": 2}, {}),
        ({"frames": 31, "rate": 10, "size": (70, 50), "codec": "libx264"}, {"fps": 2}, {}),
        ({"frames": 90, "rate": 30, "size": (150, 90)}, {"fps": 4}, {"fps": 4.0}),
        ({"frames": 64, "rate": 8}, {"num_frames": 7, "fps": None}, {"count": 7}),
        ({"frames": 5, "rate": 2, "size": (60, 70)}, {"num_frames": 5, "fps": None}, {"count": 5}),
    ],
)
def test_equals_the_processor(
    processor: Processor, tmp_path: Path, video: dict[str, Any], asked: dict[str, Any], change: dict[str, Any]
) -> None:
    """Token ids, patches and grids of a video beside a picture are what transformers makes of the very same file."""
    data = film(**video)
    file = tmp_path / "a.mp4"
    file.write_bytes(data)
    taken = decode(data, LIMITS, choice(processor, **change))
    picture = Picture(64, 96, random.Random(1).randbytes(64 * 96 * 3))
    prompt, tokens = processor.build([Turn("user", ("a", taken, "b", picture, "c?", taken))])
    frames, metadata = load_video(str(file), backend="pyav")  # all of them: the processor chooses
    shown = {"type": "video", "video": frames}
    image = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)
    content = [{"type": "text", "text": "a"}, shown, {"type": "text", "text": "b"},
               {"type": "image", "image": image}, {"type": "text", "text": "c?"}, shown]  # fmt: skip
    expected = processor.inner.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={
            "videos_kwargs": {**asked, "do_sample_frames": True, "video_metadata": [[metadata, metadata]]}
        },
    )
    assert prompt.token_ids == tuple(expected["input_ids"][0].tolist())
    first, middle, last = prompt.media
    assert [medium.kind for medium in prompt.media] == ["video", "image", "video"]
    assert torch.equal(torch.cat([first.pixels, last.pixels]), expected["pixel_values_videos"])
    assert torch.equal(middle.pixels, expected["pixel_values"])
    assert [list(first.grid), list(last.grid)] == expected["video_grid_thw"].tolist()
    assert tokens.video_tokens == (len(first.pixels) // 4, len(last.pixels) // 4)
    assert tokens.image_tokens == (len(middle.pixels) // 4,)


def test_counts(demo: Processor) -> None:
    """A video of any size and length has as many placeholders as it has visual tokens, counted without its pixels."""
    sizes = random.Random(5)
    for seed in range(30):
        shown = clip(sizes.randint(2, 9), sizes.randint(1, 120), sizes.randint(1, 120), seed)
        turns = [Turn("user", (shown, "?"))]
        prompt, tokens = demo.build(turns)
        (medium,) = prompt.media
        t, h, w = medium.grid
        assert tokens.video_tokens == (prompt.token_ids.count(demo.videos.token_id),) == (t * h * w // 4,)
        assert medium.pixels.shape[0] == t * h * w
        assert demo.tokens([Turn("user", (shown.header, "?"))]) == tokens


def test_asked_pixels_are_kept(demo: Processor) -> None:
    """Frames that were made small on request are not made larger than the checkpoint's least, nor changed at all."""
    taken = decode(film(size=(640, 480)), LIMITS, choice(demo, max_pixels=160 * 128))
    assert (taken.width, taken.height) == (160, 96)
    (medium,) = demo.build([Turn("user", (taken,))])[0].media
    assert medium.grid[1:] == (96 // 16, 160 // 16)


def test_keys(demo: Processor) -> None:
    """Equal frames have equal keys; other frames, shapes, salts and kinds have others."""

    def key(shown: Clip | Picture, salt: bytes = b"") -> bytes:
        prompt, _ = demo.build([Turn("user", (shown,))], salt)
        return prompt.media[0].key

    one = clip(4, 64, 32)
    keys = [
        key(one),
        key(replace(one, width=32, height=64)),
        key(replace(one, width=32, indices=tuple(range(8)))),
        key(clip(4, 64, 32, seed=1)),
        key(one, b"salt"),
        key(Picture(64, 128, one.rgb)),
    ]
    assert len(set(keys)) == len(keys)
    assert key(replace(one, fps=24.0, total=500, indices=(0, 100, 200, 400))) == keys[0]


def test_when_frames_are_shown_is_part_of_the_prompt(demo: Processor) -> None:
    """The same frames at other times are another prompt."""
    slow, fast = (demo.tokens([Turn("user", (clip(4, 64, 32, fps=fps).header,))]) for fps in (1.0, 25.0))
    assert slow.video_tokens == fast.video_tokens
    assert "<2.5 seconds>" in demo.tokenizer.decode(list(slow.token_ids), skip_special_tokens=False)
    assert "<0.1 seconds>" in demo.tokenizer.decode(list(fast.token_ids), skip_special_tokens=False)


def test_too_long(demo: Processor) -> None:
    """A video that does not fit is refused from its header, before it is cut into patches."""
    with pytest.raises(ContextLengthExceeded, match="frames"):
        demo.tokens([Turn("user", (clip(2, 512, 512).header,) * 30)])


@pytest.fixture
def builder() -> Iterator[PromptBuilder]:
    """The demo model's, with one process."""
    made = PromptBuilder(DEMO, 8192, processes=1)
    yield made
    made.close()


async def test_through_a_process(builder: PromptBuilder, demo: Processor) -> None:
    """Videos go through a prompt process unchanged, and are cut once however often they stand in a conversation."""
    picture = Picture(64, 96, random.Random(1).randbytes(64 * 96 * 3))
    turns = [Turn("user", ("a", clip(5, 64, 96), picture)), Turn("user", (clip(5, 64, 96),))]
    expected, tokens = demo.build(turns)
    built = await builder.build(turns)
    assert built.prompt.token_ids == expected.token_ids
    assert (built.image_tokens, built.video_tokens) == (tokens.image_tokens, tokens.video_tokens)
    assert built.prompt.pixels is not None
    for medium, other in zip(attach(built.prompt.media, built.prompt.pixels), expected.media, strict=True):
        assert (medium.kind, medium.grid, medium.key) == (other.kind, other.grid, other.key)
        assert torch.equal(medium.pixels, other.pixels)
    assert builder.video == demo.videos.defaults
    assert "<|video_pad|>" in await builder.render(turns)
