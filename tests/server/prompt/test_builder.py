"""Prompt processes: they answer as the processor does, and one that dies or hangs costs its own request at most."""

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jinja2 import TemplateError

from omega_server.engine.attach import attach
from omega_server.engine.request import ContextLengthExceeded, InvalidGrammar
from omega_server.media.picture import Picture
from omega_server.model.checkpoint import ModelError
from omega_server.prompt.builder import PromptBuilder, PromptFailed
from omega_server.prompt.messages import Turn
from omega_server.prompt.processor import Processor

MODEL = Path(__file__).parents[3] / "demo" / "model"
HELLO = [Turn("user", ("hello",))]


@pytest.fixture
def builder() -> Iterator[PromptBuilder]:
    """The demo model's, with one process."""
    made = PromptBuilder(str(MODEL), 8192, processes=1)
    yield made
    made.close()


def pids(builder: PromptBuilder) -> list[int]:
    """Of its processes."""
    found = [process.pid for process in builder._processes]
    return [pid for pid in found if pid is not None]


def picture(width: int, height: int, seed: int = 0) -> Picture:
    """A picture of noise."""
    return Picture(width, height, random.Random(seed).randbytes(width * height * 3))


async def test_equals_the_processor(builder: PromptBuilder) -> None:
    """What comes out of the process is what the processor makes, pixels and text too."""
    processor = Processor(str(MODEL), 8192)
    assert (builder.max_length, builder.vocabulary) == (processor.max_length, processor.vocabulary)
    assert builder.tokenizer.to_str() == processor.tokenizer.to_str()
    turns = [Turn("system", ("Be brief.",)), Turn("user", (picture(200, 100), "a", picture(64, 96, 1), "b?"))]
    expected, tokens = processor.build(turns)
    built = await builder.build(turns)
    assert (built.prompt.token_ids, built.image_tokens) == (expected.token_ids, tokens.image_tokens)
    assert built.prompt.pixels is not None
    media = attach(built.prompt.media, built.prompt.pixels)
    assert [(m.kind, m.grid, m.key) for m in media] == [(m.kind, m.grid, m.key) for m in expected.media]
    assert all(torch.equal(one.pixels, other.pixels) for one, other in zip(media, expected.media, strict=True))
    assert await builder.render(turns) == processor.render(turns)


async def test_at_once() -> None:
    """Prompts that are built at once, by several processes, do not mix; no more processes run than may."""
    builder = PromptBuilder(str(MODEL), 8192, processes=2)
    try:
        turns = [[Turn("user", (picture(32 * n, 32, n), str(n)))] for n in range(1, 9)]
        together = await asyncio.gather(*(builder.build(turn) for turn in turns))
        for turn, built in zip(turns, together, strict=True):
            alone = await builder.build(turn)
            assert alone.prompt.token_ids == built.prompt.token_ids
            assert alone.prompt.media[0].key == built.prompt.media[0].key
        assert len(pids(builder)) <= 2
    finally:
        builder.close()


async def test_what_is_wrong_with_a_prompt_is_said_as_the_processor_says_it(tmp_path: Path) -> None:
    """A prompt that is too long, and one that the template refuses, raise what they would without a process between."""
    shutil.copytree(MODEL, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ raise_exception('Only poems.') }}")
    builder = PromptBuilder(str(tmp_path / "model"), 8192, processes=1)
    try:
        before = pids(builder)
        with pytest.raises(
            ContextLengthExceeded, match=r"at least \d+ tokens; prompt and answer together may have 4096"
        ):
            await builder.build([Turn("user", ("x" * 5_000_000,))])
        with pytest.raises(TemplateError, match=r"Only poems\.") as raised:
            await builder.build(HELLO)
        assert "In the prompt process:\nTraceback" in raised.value.__notes__[0]
        assert pids(builder) == before
    finally:
        builder.close()


def test_a_checkpoint_without_a_processor(tmp_path: Path) -> None:
    """It is refused in one line."""
    shutil.copy(MODEL / "config.json", tmp_path)
    with pytest.raises(ModelError, match=r"the processor of the model at .* cannot be loaded"):
        PromptBuilder(str(tmp_path), 8192)


async def test_a_process_that_dies_is_replaced(builder: PromptBuilder) -> None:
    """The prompt that it was building, or should have built next, is built by another."""
    expected = (await builder.build(HELLO)).prompt.token_ids
    (first,) = pids(builder)
    os.kill(first, signal.SIGKILL)
    assert (await builder.build(HELLO)).prompt.token_ids == expected
    (second,) = pids(builder)
    os.kill(second, signal.SIGSTOP)
    building = asyncio.create_task(builder.build(HELLO))
    await asyncio.sleep(0.1)
    os.kill(second, signal.SIGKILL)
    assert (await building).prompt.token_ids == expected
    assert pids(builder) not in ([first], [second])


async def test_a_process_that_hangs_is_replaced() -> None:
    """Its prompt fails, also one that does not fit into the pipe, and the next is built."""
    builder = PromptBuilder(str(MODEL), 8192, processes=1, seconds=10.0)
    try:
        for text in ("hello", "x" * 1_000_000):
            os.kill(*pids(builder), signal.SIGSTOP)
            with pytest.raises(PromptFailed, match="too long"):
                await builder.build([Turn("user", (text,))])
            assert (await builder.build(HELLO)).prompt.token_ids
    finally:
        builder.close()


def test_forms_are_looked_at_where_a_crash_costs_nothing() -> None:
    """A grammar is right, or wrong for a reason; one that its process does not survive is refused, and others go on."""
    builder = PromptBuilder(str(MODEL), 8192, processes=1, seconds=5.0)
    try:
        builder.validate('start: "a"')
        with pytest.raises(InvalidGrammar, match="missing"):
            builder.validate("start: missing")
        os.kill(*pids(builder), signal.SIGSTOP)
        with pytest.raises(InvalidGrammar, match="cannot be enforced"):
            builder.validate('start: "a"')
        builder.validate('start: "a"')
    finally:
        builder.close()


async def test_a_picture_is_cut_once(builder: PromptBuilder) -> None:
    """A second turn takes the patches of the first, and has the same prompt; another asker's are cut anew."""
    first, second = picture(64, 64, 1), picture(96, 64, 2)
    turn = [Turn("user", (first, "a", second, "b", first))]
    built = await builder.build(turn, b"one")
    kept = dict(builder._kept)
    assert len(kept) == 2
    again = await builder.build([*turn, Turn("assistant", ("c",)), *turn], b"one")
    assert dict(builder._kept) == kept
    assert [m.key for m in again.prompt.media] == [m.key for m in built.prompt.media] * 2
    assert built.prompt.pixels is not None
    assert again.prompt.pixels is not None
    assert again.prompt.pixels.map()[:] == built.prompt.pixels.map()[:] * 2
    other = await builder.build(turn, b"other")
    assert len(builder._kept) == 4
    assert not {m.key for m in other.prompt.media} & {m.key for m in built.prompt.media}
    assert other.prompt.pixels is not None
    assert other.prompt.pixels.map()[:] == built.prompt.pixels.map()[:]
