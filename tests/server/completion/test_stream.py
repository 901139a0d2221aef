"""Streams: of an answer that cannot be completed, and of one that is long in coming."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer

from omega_server import chat
from omega_server.engine.pixels import SharedPrompt
from omega_server.engine.request import EngineFailed, QueueFull, Sampling, Token
from omega_server.metrics import Metrics
from omega_server.prompt.builder import Built
from omega_server.routes import EventStream
from omega_server.wire import sse
from omega_server.wire.requests import parse_chat

TOKENIZER = Tokenizer.from_file(str(Path(__file__).parents[3] / "demo" / "model" / "tokenizer.json"))


class Engine:
    """Gives some words when it is let go, then what it was told to end with."""

    def __init__(self, end: Exception | None = None, words: str = "a red circle") -> None:
        self.go = asyncio.Event()
        self.open = 0
        self._end = end
        self._words = words

    async def generate(self, prompt: SharedPrompt, sampling: Sampling) -> AsyncGenerator[Token, None]:
        """The tokens."""
        self.open += 1
        try:
            await self.go.wait()
            for token in TOKENIZER.encode(self._words, add_special_tokens=False).ids:
                yield Token(token)
            if self._end:
                raise self._end
            yield Token(0, "length")
        finally:
            self.open -= 1


async def opened(engine: Engine, patience: float = 60) -> AsyncGenerator[dict[str, Any], None]:
    """The chunks of an answer of this engine."""
    request = parse_chat({"messages": [{"role": "user", "content": "hello"}], "stream": True})
    serving = SimpleNamespace(
        router=engine,
        prompts=SimpleNamespace(tokenizer=TOKENIZER),
        metrics=Metrics(lambda: ()),
        settings=SimpleNamespace(boot=SimpleNamespace(model_name="demo")),
    )
    job = chat.Job(request, (), Built(SharedPrompt((1, 2, 3)), ()), (Sampling(16),))
    return await chat.open_stream(serving, job, patience)  # type: ignore[arg-type]


def said(bodies: list[dict[str, Any]]) -> str:
    """The text of some chunks."""
    return "".join(choice["delta"].get("content", "") for body in bodies for choice in body["choices"])


async def test_an_answer_that_breaks_ends_with_an_error_event() -> None:
    """What was said stays said; then one event tells what happened, and no [DONE] follows."""
    engine = Engine(EngineFailed("Why is for the log."))
    engine.go.set()
    stream = sse.events(await opened(engine))
    bodies = [json.loads(event.decode().removeprefix("data: ")) async for event in stream]
    assert said(bodies[:-1]) == "a red circle"
    assert bodies[-1]["error"]["code"] == "engine_failed"


async def test_an_answer_that_is_refused_in_time() -> None:
    """What goes wrong before the stream is open is raised, and has a status."""
    engine = Engine(QueueFull("no"), words="")
    engine.go.set()
    with pytest.raises(QueueFull):
        await opened(engine)
    assert engine.open == 0


async def test_an_answer_that_is_long_in_coming() -> None:
    """After some patience the stream is open without a token, with the role; the answer follows when it comes."""
    engine = Engine()
    chunks = await opened(engine, patience=0.01)
    first = await anext(chunks)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    engine.go.set()
    rest = [chunk async for chunk in chunks]
    assert said(rest).startswith("a red circle")
    assert {chunk["id"] for chunk in rest} == {first["id"]}
    assert engine.open == 0


async def test_an_answer_that_is_refused_late() -> None:
    """It is told by an error event, as the status is gone."""
    engine = Engine(QueueFull("no"), words="")
    chunks = await opened(engine, patience=0.01)
    engine.go.set()
    bodies = [json.loads(event.decode().removeprefix("data: ")) async for event in sse.events(chunks)]
    assert [("error" in body) for body in bodies] == [False, True]
    assert bodies[-1]["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("read", [0, 1])
async def test_a_reader_that_goes_before_the_first_token(read: int) -> None:
    """Whether it has read anything or not, nothing goes on."""
    engine = Engine()
    chunks = await opened(engine, patience=0.01)
    for _ in range(read):
        await anext(chunks)
    pending = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0.01)
    assert engine.open == 1
    pending.cancel()
    await asyncio.gather(pending, return_exceptions=True)
    await chunks.aclose()
    assert engine.open == 0


async def test_a_silent_stream_says_that_it_is_there() -> None:
    """Comments come while nothing else does, and none after the last event."""
    more = asyncio.Event()

    async def events() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        await more.wait()
        yield b"data: 2\n\n"

    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b"start"))
        if sent.count(sse.KEEP_ALIVE) == 3:
            more.set()

    async def receive() -> Any:
        await asyncio.Event().wait()

    await EventStream(events(), silence=0.01)({"type": "http"}, receive, send)
    assert sent[:2] == [b"start", b"data: 1\n\n"]
    assert set(sent[2:-2]) == {sse.KEEP_ALIVE}
    assert sent[-2:] == [b"data: 2\n\n", b""]
