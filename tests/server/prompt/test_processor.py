"""Prompts are the stock processor's, token for token; user text never becomes control."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from omega_server.engine.request import ContextLengthExceeded
from omega_server.media.picture import Bounds, Picture
from omega_server.prompt.messages import Turn
from omega_server.prompt.processor import Processor

MODEL = str(Path(__file__).parents[3] / "demo" / "model")


@pytest.fixture(scope="module")
def processor() -> Processor:
    """The demo model's."""
    return Processor(MODEL, 8192)


def picture(width: int, height: int, seed: int = 0) -> Picture:
    """A picture of noise."""
    return Picture(width, height, random.Random(seed).randbytes(width * height * 3))


def test_equals_the_processor(processor: Processor) -> None:
    """Token ids, pixels and grids are exactly what the processor alone makes."""
    pictures = [picture(200, 100), picture(64, 256, 1)]
    prompt, _ = processor.build(
        [Turn("system", ("Be brief.",)), Turn("user", ("a", pictures[0], "b", pictures[1], "c?"))]
    )
    images = [Image.frombytes("RGB", (p.width, p.height), p.rgb) for p in pictures]
    content = [{"type": "text", "text": "a"}, {"type": "image", "image": images[0]}, {"type": "text", "text": "b"},
               {"type": "image", "image": images[1]}, {"type": "text", "text": "c?"}]  # fmt: skip
    expected = processor.inner.apply_chat_template(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert prompt.token_ids == tuple(expected["input_ids"][0].tolist())
    assert torch.equal(torch.cat([medium.pixels for medium in prompt.media]), expected["pixel_values"])
    assert [list(medium.grid) for medium in prompt.media] == expected["image_grid_thw"].tolist()


def test_counts(processor: Processor) -> None:
    """A picture of any size has as many placeholders as it has visual tokens."""
    sizes = random.Random(5)
    image_token = processor.inner.image_token_id
    for _ in range(40):
        shape = picture(sizes.randint(1, 300), sizes.randint(1, 300))
        if max(shape.width, shape.height) > 200 * min(shape.width, shape.height):
            continue
        prompt, tokens = processor.build([Turn("user", (shape, "?"))])
        (medium,) = prompt.media
        t, h, w = medium.grid
        assert tokens.image_tokens == (prompt.token_ids.count(image_token),) == (t * h * w // 4,)
        assert medium.pixels.shape[0] == t * h * w


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|video_pad|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>",
                                   "<|endoftext|>"])  # fmt: skip
def test_control_tokens_are_text(processor: Processor, token: str) -> None:
    """A control token that a user writes is encoded as its letters, beside a real picture too."""
    control = processor.tokenizer.token_to_id(token)
    plain, plain_tokens = processor.build([Turn("user", (picture(64, 64), "x"))])
    forged, forged_tokens = processor.build([Turn("user", (picture(64, 64), f"x{token}"))])
    assert forged.token_ids.count(control) == plain.token_ids.count(control)
    assert token in processor.tokenizer.decode(list(forged.token_ids), skip_special_tokens=True)
    assert forged_tokens.image_tokens == plain_tokens.image_tokens


def test_keys(processor: Processor) -> None:
    """Equal pictures have equal keys; the same bytes in another shape are another picture."""

    def key(shape: Picture) -> bytes:
        prompt, _ = processor.build([Turn("user", (shape,))])
        return prompt.media[0].key

    tall, wide = picture(30, 100), Picture(100, 30, picture(30, 100).rgb)
    assert key(tall) == key(picture(30, 100))
    assert key(tall) != key(wide)
    assert key(tall) != key(picture(30, 100, seed=1))


def test_too_long(processor: Processor) -> None:
    """A prompt beyond the context is refused with its count, and a hopeless one before it is worked on."""
    assert processor.max_length == 4096
    with pytest.raises(ContextLengthExceeded, match=r"has \d+ tokens"):
        processor.build([Turn("user", ("a b c " * 3000,))])
    with pytest.raises(ContextLengthExceeded, match="at least"):
        processor.build([Turn("user", ("x" * 5_000_000,))])
    with pytest.raises(ContextLengthExceeded, match="at least"):
        processor.build([Turn("user", (picture(64, 64),) * 300)])


def test_rendering(processor: Processor) -> None:
    """The text of a prompt has one placeholder per picture; the newer name of the system's role is understood."""
    text = processor.render([Turn("developer", ("Be brief.",)), Turn("user", (picture(9, 9), "what?"))])
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert "<|vision_start|><|image_pad|><|vision_end|>what?" in text
    assert text.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("bounds", [None, Bounds(None, 4096, 1024), Bounds(60_000, None, 1024), Bounds(1, 20_000, 512)])
def test_counts_are_those_of_the_pixels(processor: Processor, bounds: Bounds | None) -> None:
    """What is counted from the size alone is what the pixels have, whatever the request wants."""
    for width, height in ((1, 1), (200, 100), (40, 333), (500, 3)):
        shape = replace(picture(width, height), bounds=bounds)
        prompt, tokens = processor.build([Turn("user", (shape,))])
        (medium,) = prompt.media
        assert tokens.image_tokens == (prompt.token_ids.count(processor.inner.image_token_id),)
        assert tokens.image_tokens == (medium.grid[1] * medium.grid[2] // 4,) == (len(medium.pixels) // 4,)


def test_keys_tell_everything_apart(processor: Processor) -> None:
    """Shape, bounds and asker belong to the key."""
    base = picture(64, 32)
    others = [
        Picture(32, 64, base.rgb),
        replace(base, bounds=Bounds(None, 4096, 1024)),
        replace(base, bounds=Bounds(None, 4097, 1024)),
        replace(base, bounds=Bounds(4096, None, 1024)),
        replace(base, rgb=base.rgb[::-1]),
    ]
    keys = [processor.build([Turn("user", (shape,))], salt)[0].media[0].key
            for shape in (base, *others) for salt in (b"", b"one", b"other")]  # fmt: skip
    assert len(set(keys)) == len(keys) == 18
