"""One request's life in the engine: tokens in, pieces of text out, and what they cost.

Text is given out as soon as it cannot change any more: not before its last byte is there, and not while it may be the
beginning of a stop string.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Protocol, cast

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from omega_server import tracing
from omega_server.engine.letters import token_bytes
from omega_server.engine.pixels import SharedPrompt
from omega_server.engine.request import FinishReason, Sampling, Token
from omega_server.metrics import Metrics, Timer


class Engine(Protocol):
    """What generates: the router."""

    def generate(self, prompt: SharedPrompt, sampling: Sampling) -> AsyncIterator[Token]:
        """Tokens of one answer, from a generator; closing it ends the sequence."""


@dataclass(frozen=True)
class TokenLogprob:
    """A token, how likely it was, and the likeliest in its place.

    Attributes:
        token: its text, as far as it is text.
        bytes: its bytes, of which a character may have several tokens.
        logprob: natural logarithm of its probability.
        top: the likeliest tokens, likeliest first.
    """

    token: str
    bytes: bytes
    logprob: float
    top: tuple["TokenLogprob", ...] = ()


@dataclass(frozen=True)
class Delta:
    """What one choice gained. The last delta of a choice has a finish reason."""

    choice: int
    text: str
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class Detokenizer:
    """Token ids to text that is complete: a character is held back until its last byte is there."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._pending: list[int] = []

    def push(self, token_id: int) -> str:
        """The text that became complete."""
        self._pending.append(token_id)
        text = self._stream.step(self._tokenizer, token_id)
        if text is None:
            return ""
        self._pending.clear()
        return text

    def flush(self) -> str:
        """What is still held back, without the bytes that never became a character."""
        text: str = self._tokenizer.decode(self._pending, skip_special_tokens=True)
        self._pending.clear()
        return text.rstrip("\N{REPLACEMENT CHARACTER}")


class StopStrings:
    """Ends a text before the first stop string, and never gives out the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Text that may be given out, and whether a stop string follows it."""
        self._held += text
        ends = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if ends:
            return self._held[: min(ends)], True
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        out = self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return out, False

    def flush(self) -> str:
        """What was held back: it did not become a stop string."""
        out, self._held = self._held, ""
        return out

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that is a beginning of `stop`."""
        most = min(len(stop) - 1, len(self._held))
        return next((n for n in range(most, 0, -1) if self._held.endswith(stop[:n])), 0)


class AnswerText:
    """The text of one choice."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str], min_tokens: int) -> None:
        """Before `min_tokens` tokens no stop string counts."""
        self._words = Detokenizer(tokenizer)
        self._stops = StopStrings(stops)
        self._min_tokens = min_tokens
        self._count = 0

    def push(self, token: Token) -> tuple[str, FinishReason | None]:
        """The text that may be given out, and whether it is the last."""
        self._count += 1
        finish = token.finish_reason
        # A token that ends an answer is no part of it, be it a special one or one of the request's stop tokens.
        text = ("" if finish == "stop" else self._words.push(token.id)) + (self._words.flush() if finish else "")
        if self._count <= self._min_tokens and not finish:
            return text, None
        text, stopped = self._stops.push(text)
        if stopped:
            return text, "stop"
        return text + (self._stops.flush() if finish else ""), finish


class Completion:
    """The choices of one request.

    The first choice goes ahead: the others begin when its first token is there, and find the prompt that it computed in
    the prefix cache.

    Attributes:
        prompt_tokens: of the prompt, once however many choices there are.
        completion_tokens: of all choices, end tokens included.
        cached_tokens: of the prompt that the first choice did not have to compute.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        metrics: Metrics,
        *,
        prompt: SharedPrompt,
        samplings: Sequence[Sampling],
        stops: Sequence[str] = (),
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._metrics = metrics
        self._prompt = prompt
        self._samplings = samplings
        self._stops = stops
        self.prompt_tokens = len(prompt.token_ids)
        self.completion_tokens = 0
        self.cached_tokens = 0
        self._begun = asyncio.Event()
        self._finishes: list[str] = []

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """What the choices gain, as it comes. Closing it ends all of them.

        Raises:
            EngineError: the engine refused or failed.
        """
        choices = [self._choice(index, sampling) for index, sampling in enumerate(self._samplings)]
        waiting = {asyncio.ensure_future(anext(choice)): choice for choice in choices}
        try:
            while waiting:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                # A choice that is refused is told before another has begun to answer: then there still is a status.
                for task in sorted(done, key=lambda task: task.exception() is None):
                    choice = waiting.pop(task)
                    try:
                        delta = task.result()
                    except StopAsyncIteration:
                        continue
                    waiting[asyncio.ensure_future(anext(choice))] = choice
                    yield delta
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            for choice in choices:
                await choice.aclose()
            tracing.note(
                {
                    "gen_ai.usage.input_tokens": self.prompt_tokens,
                    "gen_ai.usage.output_tokens": self.completion_tokens,
                    "gen_ai.usage.cache_read.input_tokens": self.cached_tokens,
                    "gen_ai.response.finish_reasons": self._finishes,
                }
            )

    async def _choice(self, index: int, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        if index > 0:
            await self._begun.wait()
        text = AnswerText(self._tokenizer, self._stops, sampling.min_tokens)
        timer = self._metrics.timer(self.prompt_tokens)
        if index == 0:
            self._metrics.prompt(self.prompt_tokens)
        generator = cast("AsyncGenerator[Token, None]", self._engine.generate(self._prompt, sampling))
        with _spans(index, timer), timer.watch():
            async with aclosing(generator) as tokens:
                async for token in tokens:
                    timer.token(time.monotonic(), cached=token.cached_tokens, queued=token.queued_seconds)
                    self._count(index, token)
                    self._begun.set()
                    words, finish = text.push(token)
                    logprobs = _logprobs(self._tokenizer, token)
                    if words or finish or logprobs:
                        yield Delta(index, words, finish, logprobs)
                    if finish:
                        self._finishes.append(finish)
                        timer.finish(time.monotonic(), finish)
                        return

    def _count(self, index: int, token: Token) -> None:
        self.completion_tokens += 1
        if index == 0:
            self.cached_tokens += token.cached_tokens


@contextmanager
def _spans(index: int, timer: Timer) -> Iterator[None]:
    """Trace what a choice waited for, however it ends."""
    try:
        yield
    finally:
        ended = time.monotonic()
        begun = min(timer.began + timer.queued, ended)
        tracing.past("queue", timer.began, begun, {"omega.choice": index})
        tracing.past("generate", begun, ended, {"omega.choice": index})


def _logprobs(tokenizer: Tokenizer, token: Token) -> tuple[TokenLogprob, ...]:
    if token.logprob is None:
        return ()
    top = tuple(_named(tokenizer, token_id, logprob) for token_id, logprob in token.top_logprobs)
    named = _named(tokenizer, token.id, token.logprob)
    return (TokenLogprob(named.token, named.bytes, named.logprob, top),)


def _named(tokenizer: Tokenizer, token_id: int, logprob: float) -> TokenLogprob:
    data = token_bytes(tokenizer, token_id)
    return TokenLogprob(data.decode("utf-8", "replace"), data, logprob)


def encode_plain(tokenizer: Tokenizer, text: str) -> list[int]:
    """The token ids of a text, in which control tokens are only the letters that they are written with."""
    ids: list[int] = _plain(tokenizer).encode(text, add_special_tokens=False).ids
    return ids


@cache
def _plain(tokenizer: Tokenizer) -> Tokenizer:
    # A copy, because others read control tokens with the same tokenizer.
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.encode_special_tokens = True
    plain.no_truncation()
    plain.no_padding()
    return plain
