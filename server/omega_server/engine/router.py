"""The front end of the engines, in the server's process: one asyncio loop owns everything in here.

Each engine is a process of its own (worker.py). A request goes to the engine with the least outstanding work; work that
an engine need not do, because it has seen the same picture, does not count. When an engine's process ends, or shows no sign
of life, it is started again; its requests whose answer has not begun are served elsewhere or later, and the others end
with EngineFailed.
"""

import asyncio
import itertools
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field, replace
from typing import Literal

from omega_schema.resource import Batching
from omega_schema.server_config import BootConfig
from omega_server.engine.messages import Abort, Load, Outputs, Ready, Refused, Submit, Update, WorkerConfig
from omega_server.engine.pixels import headers
from omega_server.engine.process import EngineProcess
from omega_server.engine.request import EngineError, EngineFailed, NotReady, Prompt, QueueFull, Sampling, Token
from omega_server.engine.scheduler import check_length
from omega_server.model import checkpoint

logger = logging.getLogger(__name__)

_TRIES = 3  # a request that was in three engines when they died may be what killed them
_STOP_SECONDS = 5.0
_LONGEST_BACKOFF = 30.0
_STABLE_SECONDS = 60.0  # an engine that lived so long is restarted at once
_FORESEEN_TOKENS = 256  # of an answer: max_tokens is usually far above what comes
_KNOWN_MEDIA = 512

Condition = Literal["loading", "ready", "stopped"]


@dataclass(frozen=True)
class EngineState:
    """What is known of one engine.

    Attributes:
        index: of the engine, and of its GPU.
        state: "loading" at the start and after a failure; "stopped" before the start and at the end.
        running: requests in its batch.
        waiting: requests that it has, but has not begun.
        kv_blocks_used: blocks of the KV cache that running requests own.
        kv_blocks_total: blocks of the KV cache.
        restarts: how often it had to be started again.
        memory_bytes: resident memory of its process.
        pid: of its process; None when there is none.
    """

    index: int
    state: Condition
    running: int
    waiting: int
    kv_blocks_used: int
    kv_blocks_total: int
    restarts: int
    memory_bytes: int
    pid: int | None


@dataclass(eq=False)
class _Request:
    """A request that has not ended.

    Attributes:
        id: unique in this router.
        prompt: kept until the answer begins, to begin again elsewhere.
        sampling: with an explicit seed.
        arrived: tokens and errors for its reader.
        engine: that has it; None while no engine is up.
        produced: tokens of the answer so far.
        deaths: engines that died while they had it.
    """

    id: int
    prompt: Prompt
    sampling: Sampling
    arrived: asyncio.Queue[Token | EngineError] = field(default_factory=asyncio.Queue)
    engine: "_Engine | None" = None
    produced: int = 0
    deaths: int = 0

    def work(self, known: "OrderedDict[bytes, None] | None" = None) -> int:
        """What is left to do for it, in tokens; a patch of a picture that is not known counts as one."""
        answer = min(self.sampling.max_tokens - self.produced, _FORESEEN_TOKENS)
        if self.produced:
            return answer
        media = sum(len(m.pixels) for m in self.prompt.media if known is None or m.key not in known)
        return answer + len(self.prompt.token_ids) + media


@dataclass(eq=False)
class _Engine:
    """One engine as the router sees it; `process` changes when it is restarted."""

    index: int
    loaded: asyncio.Future[None]
    process: EngineProcess | None = None
    state: Condition = "stopped"
    load: Load = field(default_factory=Load)
    requests: dict[int, _Request] = field(default_factory=dict)
    known: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    restarts: int = 0
    failures: int = 0
    last_sign: float = 0.0
    ready_since: float = 0.0


class Router:
    """Answers prompts with whichever engine is best. Use it in one asyncio loop."""

    def __init__(
        self, boot: BootConfig, batching: Batching, *, hang_seconds: float = 300.0, log_level: int = logging.INFO
    ) -> None:
        """Prepare; `start` does the work.

        Args:
            boot: model, device and number of engines.
            batching: live limits; see `update`.
            hang_seconds: an engine that gives no sign of life for so long is killed and started again. A step of
                the largest picture must fit in.
            log_level: of the engines' processes.
        """
        self._boot = boot
        self._batching = batching
        self._hang_seconds = hang_seconds
        self._log_level = log_level
        self._engines: list[_Engine] = []
        self._requests: dict[int, _Request] = {}
        self._held: list[_Request] = []  # no engine is up
        self._ids = itertools.count()
        self._max_length: int | None = None
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether a request would be computed now."""
        return not self._stopping and any(engine.state == "ready" for engine in self._engines)

    @property
    def max_length(self) -> int | None:
        """Most tokens of prompt and answer together; known when an engine is loaded."""
        return self._max_length

    def snapshot(self) -> tuple[EngineState, ...]:
        """What is known of each engine, no older than half a second or one step."""
        return tuple(
            EngineState(
                index=engine.index,
                state=engine.state,
                running=engine.load.running,
                waiting=engine.load.waiting,
                kv_blocks_used=engine.load.kv_blocks_used,
                kv_blocks_total=engine.load.kv_blocks_total,
                restarts=engine.restarts,
                memory_bytes=engine.load.memory_bytes,
                pid=engine.process.pid if engine.process else None,
            )
            for engine in self._engines
        )

    async def start(self) -> None:
        """Start all engines and wait until they are loaded.

        Raises:
            ModelError: the model cannot be served as it was asked for; the message is for the user.
            EngineError: an engine's process ended while it loaded the model.
        """
        checkpoint.check(  # before any process is started for nothing
            self._boot.model_path,
            dtype=self._boot.dtype,
            quantization=self._boot.quantization,
            tensor_parallel=self._boot.tensor_parallel,
        )
        loop = asyncio.get_running_loop()
        self._engines = [_Engine(index, loop.create_future()) for index in range(self._boot.engines)]
        for engine in self._engines:
            self._launch(engine)
        try:
            await asyncio.gather(*(engine.loaded for engine in self._engines))
        except BaseException:
            await self.stop()
            raise
        self._spawn(self._watch())

    async def stop(self) -> None:
        """End all engines; what is not answered ends with NotReady."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        for request in list(self._requests.values()):
            self._end(request, NotReady("The server is stopping."))
        processes = [engine.process for engine in self._engines if engine.process is not None]
        await asyncio.gather(*(process.stop(_STOP_SECONDS) for process in processes))
        for engine in self._engines:
            engine.state = "stopped"
            if engine.loaded.done() and not engine.loaded.cancelled():
                engine.loaded.exception()  # several engines may have failed; one error was enough
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def update(self, batching: Batching) -> None:
        """Take over new live limits, in all engines, from their next step on."""
        self._batching = batching
        for engine in self._engines:
            if engine.process is not None:
                engine.process.send(_limits(batching))

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[Token]:
        """Answer a prompt, token by token. Closing the iterator drops the request and frees what it holds.

        Raises:
            ContextLengthExceeded: the prompt leaves no room for an answer.
            InvalidPrompt: its placeholders do not match its media.
            QueueFull: too many requests wait already.
            NotReady: no engine was ever up, or the server is stopping.
            EngineFailed: the answer cannot be completed.
        """
        request = self._admit(prompt, sampling)
        try:
            while True:
                item = await request.arrived.get()
                if isinstance(item, EngineError):
                    raise item
                yield item
                if item.finish_reason is not None:
                    return
        finally:
            self._abort(request)

    def _admit(self, prompt: Prompt, sampling: Sampling) -> _Request:
        if self._stopping or self._max_length is None:
            raise NotReady("The server is stopping." if self._stopping else "The model is still loading.")
        check_length(len(prompt.token_ids), self._max_length)
        engines = len(self._engines)
        waiting = len(self._requests) - engines * self._batching.max_batch_size
        if waiting >= engines * self._batching.max_queue:
            raise QueueFull("Too many requests are waiting. Try again later.")
        if sampling.temperature > 0 and sampling.seed is None:
            sampling = replace(sampling, seed=secrets.randbits(63))
        request = _Request(next(self._ids), prompt, sampling)
        self._requests[request.id] = request
        self._dispatch(request)
        return request

    def _dispatch(self, request: _Request) -> None:
        ready = [engine for engine in self._engines if engine.state == "ready"]
        if not ready:
            self._held.append(request)
            return
        engine = min(ready, key=lambda e: sum(r.work() for r in e.requests.values()) + request.work(e.known))
        assert engine.process is not None
        request.engine = engine
        engine.requests[request.id] = request
        for medium in request.prompt.media:
            engine.known[medium.key] = None
            engine.known.move_to_end(medium.key)
        while len(engine.known) > _KNOWN_MEDIA:
            engine.known.popitem(last=False)
        media = request.prompt.media
        engine.process.send(Submit(request.id, request.prompt.token_ids, headers(media), request.sampling), media)

    def _forget(self, request: _Request) -> None:
        self._requests.pop(request.id, None)
        if request.engine is not None:
            request.engine.requests.pop(request.id, None)
        elif request in self._held:
            self._held.remove(request)

    def _end(self, request: _Request, last: Token | EngineError) -> None:
        """Give a request the last thing that it gets."""
        self._forget(request)
        request.arrived.put_nowait(last)

    def _abort(self, request: _Request) -> None:
        """Drop a request whose reader is gone; one that has ended is fine."""
        if request.id in self._requests:
            self._forget(request)
            if request.engine is not None and request.engine.process is not None:
                request.engine.process.send(Abort(request.id))

    def _launch(self, engine: _Engine) -> None:
        engine.state = "loading"
        engine.load = Load()
        engine.known.clear()
        config = WorkerConfig(self._boot, engine.index, _limits(self._batching), self._log_level)
        engine.process = EngineProcess(
            config, lambda message: self._receive(engine, message), lambda code: self._ended(engine, code)
        )

    def _receive(self, engine: _Engine, message: Ready | Refused | Outputs) -> None:
        now = asyncio.get_running_loop().time()
        engine.last_sign = now
        match message:
            case Outputs():
                engine.load = message.load
                for request_id, item in message.items:
                    request = engine.requests.get(request_id)
                    if request is not None:  # else it was dropped while this was on its way
                        self._deliver(request, item)
            case Ready():
                logger.info("Engine %d is ready", engine.index)
                engine.load = message.load
                engine.state = "ready"
                engine.ready_since = now
                self._max_length = message.max_length
                if engine.process is not None:
                    engine.process.send(_limits(self._batching))  # they may have changed while it loaded
                if not engine.loaded.done():
                    engine.loaded.set_result(None)
                held, self._held = self._held, []
                for request in held:
                    self._dispatch(request)
            case Refused():
                if engine.loaded.done():
                    logger.error("Engine %d: %s", engine.index, message.message)
                else:
                    engine.loaded.set_exception(checkpoint.ModelError(message.message))

    def _deliver(self, request: _Request, item: Token | EngineError) -> None:
        request.produced += 1
        if isinstance(item, EngineError) or item.finish_reason is not None:
            self._end(request, item)
        else:
            request.arrived.put_nowait(item)

    def _ended(self, engine: _Engine, exit_code: int | None) -> None:
        """An engine's process is gone: save its requests, and start it again."""
        now = asyncio.get_running_loop().time()
        was_stable = engine.state == "ready" and now - engine.ready_since >= _STABLE_SECONDS
        engine.state = "stopped"
        engine.process = None
        engine.load = Load()
        if self._stopping:
            return
        if not engine.loaded.done():
            engine.loaded.set_exception(
                EngineError(f"Engine {engine.index} ended with exit code {exit_code} while it loaded the model.")
            )
        if engine.loaded.exception() is not None:
            return
        engine.failures = 0 if was_stable else engine.failures + 1
        engine.restarts += 1
        delay = 0.0 if engine.failures <= 1 else min(0.5 * 2**engine.failures, _LONGEST_BACKOFF)
        logger.error("Engine %d ended with exit code %s; starting it again in %g s", engine.index, exit_code, delay)
        lost, engine.requests = list(engine.requests.values()), {}
        engine.state = "loading"
        for request in lost:
            request.engine = None
            request.deaths += 1
            if request.produced or request.deaths >= _TRIES:
                self._end(request, EngineFailed("The engine that computed this answer failed. Send the request again."))
            else:
                self._dispatch(request)
        self._spawn(self._restart(engine, delay))

    async def _restart(self, engine: _Engine, delay: float) -> None:
        while True:
            await asyncio.sleep(delay)
            try:
                self._launch(engine)
            except OSError as error:
                delay = min(max(1.0, 2 * delay), _LONGEST_BACKOFF)
                logger.error("Engine %d cannot be started: %s; trying again in %g s", engine.index, error, delay)
            else:
                return

    async def _watch(self) -> None:
        """Kill engines that hang: the rest follows from their end."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._hang_seconds / 4)
            for engine in self._engines:
                silent = loop.time() - engine.last_sign
                if engine.state == "ready" and engine.process is not None and silent > self._hang_seconds:
                    logger.error("Engine %d gave no sign of life for %.0f s", engine.index, silent)
                    engine.process.kill()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _limits(batching: Batching) -> Update:
    return Update(batching.max_batch_size, batching.batch_timeout_ms / 1000)
