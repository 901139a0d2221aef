"""Prompts are the stock processor's, token for token; user text never becomes control."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from omega_server.engine.request import ContextLengthExceeded
from omega_server.media.decode import Picture
from omega_server.prompt import PromptBuilder, Turn

MODEL = str(Path(__file__).parents[3] / "demo" / "model")


@pytest.fixture(scope="module")
def builder() -> Iterator[PromptBuilder]:
    """The demo model's."""
    made = PromptBuilder(MODEL, 8192)
    yield made
    made.close()


def picture(width: int, height: int, seed: int = 0) -> Picture:
    """A picture of noise."""
    return Picture(width, height, random.Random(seed).randbytes(width * height * 3))


async def test_equals_the_processor(builder: PromptBuilder) -> None:
    """Token ids, pixels and grids are exactly what the processor alone makes."""
    pictures = [picture(200, 100), picture(64, 256, 1)]
    built = await builder.build(
        [Turn("system", ("Be brief.",)), Turn("user", ("a", pictures[0], "b", pictures[1], "c?"))]
    )
    images = [Image.frombytes("RGB", (p.width, p.height), p.rgb) for p in pictures]
    content = [{"type": "text", "text": "a"}, {"type": "image", "image": images[0]}, {"type": "text", "text": "b"},
               {"type": "image", "image": images[1]}, {"type": "text", "text": "c?"}]  # fmt: skip
    expected = builder._processor.apply_chat_template(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert built.prompt.token_ids == tuple(expected["input_ids"][0].tolist())
    assert torch.equal(torch.cat([medium.pixels for medium in built.prompt.media]), expected["pixel_values"])
    assert [list(medium.grid) for medium in built.prompt.media] == expected["image_grid_thw"].tolist()


async def test_counts(builder: PromptBuilder) -> None:
    """A picture of any size has as many placeholders as it has visual tokens."""
    sizes = random.Random(5)
    image_token = builder._processor.image_token_id
    for _ in range(40):
        shape = picture(sizes.randint(1, 300), sizes.randint(1, 300))
        if max(shape.width, shape.height) > 200 * min(shape.width, shape.height):
            continue
        built = await builder.build([Turn("user", (shape, "?"))])
        (medium,) = built.prompt.media
        t, h, w = medium.grid
        assert built.image_tokens == (built.prompt.token_ids.count(image_token),) == (t * h * w // 4,)
        assert medium.pixels.shape[0] == t * h * w


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|video_pad|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>",
                                   "<|endoftext|>"])  # fmt: skip
async def test_control_tokens_are_text(builder: PromptBuilder, token: str) -> None:
    """A control token that a user writes is encoded as its letters, beside a real picture too."""
    control = builder.tokenizer.token_to_id(token)
    plain = await builder.build([Turn("user", (picture(64, 64), "x"))])
    forged = await builder.build([Turn("user", (picture(64, 64), f"x{token}"))])
    assert forged.prompt.token_ids.count(control) == plain.prompt.token_ids.count(control)
    assert token in builder.tokenizer.decode(list(forged.prompt.token_ids), skip_special_tokens=True)
    assert forged.image_tokens == plain.image_tokens


async def test_keys(builder: PromptBuilder) -> None:
    """Equal pictures have equal keys; the same bytes in another shape are another picture."""

    async def key(shape: Picture) -> bytes:
        return (await builder.build([Turn("user", (shape,))])).prompt.media[0].key

    tall, wide = picture(30, 100), Picture(100, 30, picture(30, 100).rgb)
    assert await key(tall) == await key(picture(30, 100))
    assert await key(tall) != await key(wide)
    assert await key(tall) != await key(picture(30, 100, seed=1))


async def test_too_long(builder: PromptBuilder) -> None:
    """A prompt beyond the context is refused with its count, and a hopeless one before it is worked on."""
    assert builder.max_length == 4096
    with pytest.raises(ContextLengthExceeded, match=r"has \d+ tokens"):
        await builder.build([Turn("user", ("a b c " * 3000,))])
    with pytest.raises(ContextLengthExceeded, match="at least"):
        await builder.build([Turn("user", ("x" * 5_000_000,))])
    with pytest.raises(ContextLengthExceeded, match="at least"):
        await builder.build([Turn("user", (picture(64, 64),) * 300)])


async def test_rendering(builder: PromptBuilder) -> None:
    """The text of a prompt has one placeholder per picture; the newer name of the system's role is understood."""
    text = await builder.render([Turn("developer", ("Be brief.",)), Turn("user", (picture(9, 9), "what?"))])
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert "<|vision_start|><|image_pad|><|vision_end|>what?" in text
    assert text.endswith("<|im_start|>assistant\n")


async def test_at_once(builder: PromptBuilder) -> None:
    """Prompts that are built at once do not mix."""
    turns = [[Turn("user", (picture(32 * n, 32, n), str(n)))] for n in range(1, 9)]
    together = await asyncio.gather(*(builder.build(turn) for turn in turns))
    for turn, built in zip(turns, together, strict=True):
        alone = await builder.build(turn)
        assert alone.prompt.token_ids == built.prompt.token_ids
        assert alone.prompt.media[0].key == built.prompt.media[0].key
