"""The server's end of the prompt processes. Building a prompt is work for a processor core, and no business of the loop's.

There is one process, and more are started when more are needed at once. One that dies or hangs is replaced, and costs
nobody but the request that it was busy with.

The pictures of a prompt are cut into patches side by side, and the patches are kept for a while, least recently used out
first: the second turn about a picture does not cut it again.
"""

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from cachetools import LRUCache
from tokenizers import Tokenizer

from omega_server.engine.memory_file import MemoryFile
from omega_server.engine.pixels import SharedPrompt
from omega_server.engine.request import InvalidGrammar, MediumHeader
from omega_server.forks import Forked
from omega_server.model.checkpoint import ModelError
from omega_server.prompt.messages import (
    Answer,
    GrammarJob,
    Job,
    MediumJob,
    PromptJob,
    Ready,
    Refused,
    Shown,
    Tokens,
    Tools,
    Turn,
    shown,
)

Given = TypeVar("Given")
Made = TypeVar("Made")
Done = Tokens | MediumHeader | str | None
"""An answer that is no exception."""

logger = logging.getLogger(__name__)

PROCESSES = 4
"""Most prompt processes; fewer where there are fewer cores."""
SECONDS = 60.0
"""Longest time for one prompt."""
LOADING_SECONDS = 300.0
"""Longest time for a process to load the processor."""
TRIES = 2
"""Processes that one prompt may outlive; it may be what they die of."""
CACHE_BYTES = 256 << 20
"""Bytes of patches that are kept."""


class PromptFailed(Exception):  # noqa: N818 - what happened
    """The process that was to build a prompt died, twice, or took too long."""


@dataclass(frozen=True, eq=False)
class Built:
    """A prompt and what it is made of.

    Attributes:
        prompt: for the engine.
        image_tokens: of each picture, in order.
        video_tokens: of each video, in order.
    """

    prompt: SharedPrompt
    image_tokens: tuple[int, ...] = ()
    video_tokens: tuple[int, ...] = ()


class PromptBuilder:
    """Builds prompts for one checkpoint.

    Attributes:
        max_length: longest prompt and answer together, in tokens: what was asked for, or what the checkpoint can do.
        tokenizer: of the checkpoint.
        vocabulary: number of token ids.
        video: which frames are taken of videos when a request says nothing.
        tools: whether the chat template knows tools, and calls of them in Qwen's format.
    """

    def __init__(
        self, model_path: str, max_length: int, *, processes: int | None = None, seconds: float = SECONDS
    ) -> None:
        """Start the first process, and wait until it has loaded the processor. Slow; call it in a thread.

        Args:
            model_path: of the checkpoint.
            max_length: what was asked for, in tokens.
            processes: the most that may run.
            seconds: longest time for one prompt.

        Raises:
            ModelError: the checkpoint has no usable processor.
            OSError: the process cannot be started, or died.
        """
        self._model = (model_path, max_length)
        self._seconds = seconds
        self._closed = False
        self._idle: queue.LifoQueue[_Process] = queue.LifoQueue()
        self._processes: set[_Process] = set()
        self._kept: LRUCache[bytes, _Patches] = LRUCache(CACHE_BYTES, getsizeof=lambda patches: patches.size)
        first = self._start()
        self._idle.put(first)
        self.max_length = first.ready.max_length
        self.video = first.ready.video
        self.tools = first.ready.tools
        self.vocabulary = first.ready.vocabulary
        self.tokenizer = Tokenizer.from_str(first.ready.tokenizer)
        most = processes or min(PROCESSES, len(os.sched_getaffinity(0)))
        # A thread has a process for as long as it waits for it: so there are never more processes than threads.
        self._threads = ThreadPoolExecutor(most, "prompt")

    async def build(self, turns: Sequence[Turn], salt: bytes = b"", tools: Tools = ()) -> Built:
        """The prompt of a conversation, which ends where the answer begins.

        Args:
            turns: of the conversation.
            salt: of whoever asks. What is kept for one salt is never found with another.
            tools: that the model may call.

        Raises:
            ContextLengthExceeded: it leaves no room for a single token of answer.
            PromptFailed: it could not be built, by no fault of its own.
        """
        tokens = await self._run(self._tokens, PromptJob("tokens", _headers(turns), tools))
        parts = shown(turns)
        keys = await asyncio.gather(*(self._run(part.key, salt) for part in parts))
        different = dict(zip(keys, parts, strict=True))
        cut = await asyncio.gather(*(self._cut(part, key) for key, part in different.items()))
        known = dict(zip(different, cut, strict=True))
        media = [known[key] for key in keys]
        pixels = await self._run(_joined, [patches.pixels for patches in media]) if media else None
        headers = tuple(patches.header for patches in media)
        return Built(SharedPrompt(tokens.token_ids, headers, pixels, salt), tokens.image_tokens, tokens.video_tokens)

    async def render(self, turns: Sequence[Turn], tools: Tools = ()) -> str:
        """The prompt as text, with one placeholder for each picture and video.

        Raises:
            PromptFailed: as above.
        """
        return await self._run(self._render, PromptJob("text", _headers(turns), tools))

    def validate(self, grammar: str) -> None:
        """See whether the form of an answer can be enforced. Slow; call it in a thread.

        Raises:
            InvalidGrammar: it cannot, or costs too much, or is what processes die of.
        """
        try:
            self._threads.submit(self._ask, GrammarJob(grammar)).result()
        except PromptFailed as error:
            raise InvalidGrammar("it cannot be enforced") from error

    def close(self) -> None:
        """End the processes."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in list(self._processes):
            process.kill()

    async def _run(self, work: Callable[[Given], Made], given: Given) -> Made:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, given)

    async def _cut(self, part: Shown, key: bytes) -> "_Patches":
        """The patches of a picture or video, kept or new."""
        patches = self._kept.get(key)
        if patches is None:
            patches = await self._run(self._patches, (part, key))
            if patches.size <= self._kept.maxsize:
                self._kept[key] = patches
        return patches

    def _tokens(self, job: PromptJob) -> Tokens:
        tokens, _ = self._ask(job)
        assert isinstance(tokens, Tokens)
        return tokens

    def _render(self, job: PromptJob) -> str:
        text, _ = self._ask(job)
        assert isinstance(text, str)
        return text

    def _patches(self, given: tuple[Shown, bytes]) -> "_Patches":
        part, key = given
        header, pixels = self._ask(MediumJob(part.header, key), MemoryFile.of([part.rgb]))
        assert isinstance(header, MediumHeader)
        assert pixels is not None
        return _Patches(header, pixels)

    def _ask(self, job: Job, rgb: MemoryFile | None = None) -> tuple[Done, MemoryFile | None]:
        """Have a process do it; if that one dies, another."""
        for _ in range(TRIES):
            try:
                answer, pixels = self._exchange(job, rgb)
            except TimeoutError as error:
                logger.error("a prompt took more than %g s", self._seconds)
                raise PromptFailed("the prompt took too long") from error
            except (EOFError, OSError) as error:
                if self._closed:
                    raise PromptFailed("the server is stopping") from error
                logger.error("a prompt process died: %s", error or type(error).__name__)
            else:
                if isinstance(answer, Exception):
                    raise answer
                return answer, pixels
        raise PromptFailed("the processes that were to build the prompt died")

    def _exchange(self, job: Job, rgb: MemoryFile | None) -> tuple[Answer, MemoryFile | None]:
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            process = self._start()
        try:
            answered = process.ask(job, rgb, self._seconds)
        except BaseException:
            self._processes.discard(process)
            raise
        self._idle.put(process)
        return answered

    def _start(self) -> "_Process":
        process = _Process(*self._model)
        self._processes.add(process)
        return process


class _Process:
    """One prompt process, which is ready."""

    def __init__(self, model_path: str, max_length: int) -> None:
        self._process = Forked("omega_server.prompt.worker", model_path, max_length, name="omega-prompt")
        self._process.start()
        with self._within(LOADING_SECONDS):
            first: Ready | Refused = self._process.pipe.recv()
        if isinstance(first, Refused):
            raise ModelError(first.message)
        self.ready = first

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def ask(self, job: Job, rgb: MemoryFile | None, seconds: float) -> tuple[Answer, MemoryFile | None]:
        """What it answers, and the pixels of that. It is of no more use after any exception.

        Raises:
            TimeoutError: it took longer, and was killed.
            EOFError, OSError: it died.
        """
        pipe = self._process.pipe
        with self._within(seconds):
            pipe.send(job)
            if rgb is not None:
                rgb.send(pipe)
            answer: Answer = pipe.recv()
            return answer, MemoryFile.receive(pipe) if isinstance(answer, MediumHeader) else None

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        # A process that was killed closes its pipe, and that ends whatever waits for the pipe.
        late = threading.Timer(seconds, self.kill)
        late.start()
        try:
            yield
        except (EOFError, OSError) as error:
            if late.finished.is_set():
                raise TimeoutError from error
            self.kill()
            raise
        finally:
            late.cancel()


@dataclass(frozen=True, eq=False)
class _Patches:
    """A picture or video as the engine takes it."""

    header: MediumHeader
    pixels: MemoryFile

    @property
    def size(self) -> int:
        """Of the pixels, in bytes."""
        rows, features = self.header.shape
        return rows * features * 4


def _joined(files: Sequence[MemoryFile]) -> MemoryFile:
    """One file with the bytes of all, one after the other."""
    return files[0] if len(files) == 1 else MemoryFile.of(memoryview(file.map()) for file in files)


def _headers(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Turns without pixels."""
    return tuple(
        replace(turn, parts=tuple(part.header if isinstance(part, Shown) else part for part in turn.parts))
        for turn in turns
    )
