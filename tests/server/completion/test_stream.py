"""A stream whose answer cannot be completed."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace

from tokenizers import Tokenizer

from omega_server import chat
from omega_server.engine.pixels import SharedPrompt
from omega_server.engine.request import EngineFailed, Sampling, Token
from omega_server.metrics import Metrics
from omega_server.prompt.builder import Built
from omega_server.wire.requests import parse_chat

TOKENIZER = Tokenizer.from_file(str(Path(__file__).parents[3] / "demo" / "model" / "tokenizer.json"))


class Broken:
    """An engine that fails after the first words."""

    async def generate(self, prompt: SharedPrompt, sampling: Sampling) -> AsyncGenerator[Token, None]:
        """Some tokens, then the end."""
        for token in TOKENIZER.encode("a red circle", add_special_tokens=False).ids:
            yield Token(token)
        raise EngineFailed("Why is for the log.")


async def test_an_answer_that_breaks_ends_with_an_error_event() -> None:
    """What was said stays said; then one event tells what happened, and no [DONE] follows."""
    request = parse_chat({"messages": [{"role": "user", "content": "hello"}], "stream": True})
    serving = SimpleNamespace(
        router=Broken(),
        prompts=SimpleNamespace(tokenizer=TOKENIZER),
        metrics=Metrics(lambda: ()),
        settings=SimpleNamespace(boot=SimpleNamespace(model_name="demo")),
    )
    job = chat.Job(request, (), Built(SharedPrompt((1, 2, 3)), ()), (Sampling(16),))
    events = [event async for event in await chat.open_stream(serving, job)]  # type: ignore[arg-type]
    bodies = [json.loads(event.decode().removeprefix("data: ")) for event in events]
    text = "".join(choice["delta"].get("content", "") for body in bodies[:-1] for choice in body["choices"])
    assert text == "a red circle"
    assert bodies[-1]["error"]["code"] == "engine_failed"
