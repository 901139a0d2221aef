"""The front end of the engines, in the server's process: one asyncio loop owns everything in here.

Each engine is a process of its own (worker.py). A request goes to the engine that would be done with it first (placement.py).

When an engine's process ends it is started again, and its requests go on in another engine, or in the same one when it is
back: what is to come of an answer depends on the prompt, the sampling with its seed and the tokens so far, and the
router has all of them. A process that gives no sign of life loses its requests to the others within a second, and
is killed if it stays silent.

A request can be the very reason why engines die. One that two of them had begun when they died, and that got no token
from either, is on trial: it is computed while no other one on trial is in the same engine, and if the engine dies, it
alone is blamed. If that happens twice, it ends.
"""

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from omega_schema.resource import Batching
from omega_schema.server_config import BootConfig
from omega_server import logs
from omega_server.engine import placement
from omega_server.engine.messages import Abort, Load, Outputs, Ready, Refused, Submit, Update, WorkerConfig
from omega_server.engine.pixels import SharedPrompt, share
from omega_server.engine.placement import Known, Outline
from omega_server.engine.process import EngineProcess
from omega_server.engine.request import (
    EngineError,
    EngineFailed,
    NotReady,
    PixelsForgotten,
    Prompt,
    QueueFull,
    Sampling,
    Token,
)
from omega_server.engine.scheduler import check_length
from omega_server.logs import Lines
from omega_server.model import checkpoint

logger = logging.getLogger(__name__)

_SUSPECT = 2  # engines in a row that died before a request had a token of theirs: it may be what killed them
_GUILTY = 4  # the last two of them without another suspect
_STARTS = 3  # in a row without a token, of each engine: it makes no sense to wait any longer
_MOVES = 20  # of a request, after deaths of engines, however much it got from them
_STOP_SECONDS = 5.0
_LONGEST_BACKOFF = 30.0
_TICK_SECONDS = 0.2
_SILENT_SECONDS = 0.8  # a healthy engine gives a sign of life four times as often
_FORESEEN_TOKENS = 256  # of an answer: max_tokens is usually far above what comes

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
        kv_block_size: tokens of a block; 0 until an engine was ready.
        preemptions: requests that had to give up their blocks to older ones, since its process was started.
        vision_queries: pictures and videos that requests needed, since its process was started.
        vision_hits: those of them that the vision tower had seen before.
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
    kv_block_size: int
    preemptions: int
    vision_queries: int
    vision_hits: int
    restarts: int
    memory_bytes: int
    pid: int | None


@dataclass(eq=False)
class _Request:
    """A request that has not ended.

    Attributes:
        prompt: to begin or to go on with elsewhere.
        sampling: with an explicit seed.
        outline: of the prompt.
        id: by which its engine knows it; new each time that it is given to one, so that late tokens find nobody.
        arrived: tokens and errors for its reader.
        engine: that has it; None while no engine can.
        cost: of the prompt and of the answer so far to that engine, in tokens, until a token comes from there.
        answer: tokens so far.
        with_pixels: its engine did not know its pictures, contrary to what was thought.
        deaths: engines in a row that died when they had begun it, and before it had a token of theirs.
        moves: engines that died while they had it.
        admitted: when it came, in seconds of the monotonic clock.
        begun: when an engine began with it; None before that.
        log_id: what log lines call it.
    """

    prompt: SharedPrompt
    sampling: Sampling
    outline: Outline
    id: int = -1
    arrived: asyncio.Queue[Token | EngineError] = field(default_factory=asyncio.Queue)
    engine: "_Engine | None" = None
    cost: int = 0
    answer: list[int] = field(default_factory=list)
    with_pixels: bool = False
    deaths: int = 0
    moves: int = 0
    admitted: float = field(default_factory=time.monotonic)
    begun: float | None = None
    log_id: str | None = field(default_factory=logs.request_id.get)

    @property
    def on_trial(self) -> bool:
        """Whether it may be what kills engines."""
        return self.deaths >= _SUSPECT

    @property
    def work(self) -> int:
        """What its engine has left to do for it, in tokens."""
        return self.cost + min(self.sampling.max_tokens - len(self.answer), _FORESEEN_TOKENS)


@dataclass(eq=False)
class _Engine:
    """One engine as the router sees it; `process` changes when it is restarted.

    Attributes:
        index: of the engine.
        loaded: done when it was up for the first time, or cannot be.
        process: that it lives in.
        state: "ready" also while it is silent.
        load: that it told last.
        requests: that it has, by id.
        known: what it was given since it was started.
        restarts: of its process.
        failures: processes in a row that gave no token.
        silent: seconds since its last sign of life, by the router's ticks: when the router itself is held up, it
            hears nobody.
    """

    index: int
    loaded: asyncio.Future[None]
    process: EngineProcess | None = None
    state: Condition = "stopped"
    load: Load = field(default_factory=Load)
    requests: dict[int, _Request] = field(default_factory=dict)
    known: Known = field(default_factory=lambda: Known(0))
    restarts: int = 0
    failures: int = 0
    silent: float = 0.0

    def takes(self, request: _Request) -> bool:
        """Whether it may have a request."""
        return self.state == "ready" and not (request.on_trial and any(r.on_trial for r in self.requests.values()))

    def cost(self, request: _Request) -> int:
        """What it would have to compute of a request's prompt and answer so far, in tokens."""
        return self.known.cost(request.outline) + len(request.answer)

    @property
    def outstanding(self) -> int:
        """What it has to do, in tokens."""
        return sum(request.work for request in self.requests.values())


class Router:
    """Answers prompts with whichever engine is best. Use it in one asyncio loop."""

    def __init__(
        self,
        boot: BootConfig,
        batching: Batching,
        *,
        hang_seconds: float = 10.0,
        step_seconds: float = 300.0,
        lines: Lines | None = None,
    ) -> None:
        """Prepare; `start` does the work.

        Args:
            boot: model, device and number of engines.
            batching: live limits; see `update`.
            hang_seconds: an engine that gives no sign of life for so long is killed and started again.
            step_seconds: so is one that works for so long on one step; that of the largest picture must fit in.
            lines: how the engines' processes log.
        """
        self._boot = boot
        self._batching = batching
        self._hang_seconds = hang_seconds
        self._step_seconds = step_seconds
        self._lines = lines or Lines()
        self._engines: list[_Engine] = []
        self._requests: set[_Request] = set()
        self._held: list[_Request] = []  # no engine may have them now
        self._ids = itertools.count()
        self._model: Ready | None = None
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether a request would be computed now."""
        return not self._stopping and any(engine.state == "ready" for engine in self._engines)

    @property
    def max_length(self) -> int | None:
        """Most tokens of prompt and answer together; known when an engine is loaded."""
        return None if self._model is None else self._model.max_length

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
                kv_block_size=self._model.block_size if self._model else 0,
                preemptions=engine.load.preemptions,
                vision_queries=engine.load.vision_queries,
                vision_hits=engine.load.vision_hits,
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
        for request in list(self._requests):
            self._end(request, NotReady("The server is stopping."))
        processes = [engine.process for engine in self._engines if engine.process is not None]
        await asyncio.gather(*(process.stop(_STOP_SECONDS) for process in processes))
        for engine in self._engines:
            engine.state = "stopped"
            if engine.loaded.done() and not engine.loaded.cancelled():
                engine.loaded.exception()  # several engines may have failed; one error was enough
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def update(self, batching: Batching, log_level: str) -> None:
        """Take over new live limits, in all engines, from their next step on."""
        self._batching = batching
        self._lines = replace(self._lines, level=log_level)
        for engine in self._engines:
            if engine.process is not None:
                engine.process.send(self._limits())

    def _limits(self) -> Update:
        return Update(self._batching.max_batch_size, self._batching.batch_timeout_ms / 1000, self._lines.level)

    async def generate(self, prompt: SharedPrompt | Prompt, sampling: Sampling) -> AsyncIterator[Token]:
        """Answer a prompt, token by token. Closing the iterator drops the request and frees what it holds.

        A prompt that is not shared yet, of somebody who has tensors in the router's own process, is copied first.

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

    def _admit(self, prompt: SharedPrompt | Prompt, sampling: Sampling) -> _Request:
        if self._stopping or self._model is None:
            raise NotReady("The server is stopping." if self._stopping else "The model is still loading.")
        check_length(len(prompt.token_ids), self._model.max_length)
        engines = len(self._engines)
        waiting = len(self._requests) - engines * self._batching.max_batch_size
        if waiting >= engines * self._batching.max_queue:
            raise QueueFull("Too many requests are waiting. Try again later.")
        if sampling.temperature > 0 and sampling.seed is None:
            sampling = replace(sampling, seed=secrets.randbits(63))
        shared = prompt if isinstance(prompt, SharedPrompt) else share(prompt)
        request = _Request(shared, sampling, Outline.of(shared, self._model.placeholders, self._model.block_size))
        self._requests.add(request)
        self._dispatch(request)
        return request

    def _dispatch(self, request: _Request) -> bool:
        """Give a request to an engine, or hold it if none may have it now; says which."""
        engines = [engine for engine in self._engines if engine.takes(request)]
        engines = [engine for engine in engines if engine.silent < _SILENT_SECONDS] or engines
        if not engines:
            self._held.append(request)
            return False
        costs = [engine.cost(request) for engine in engines]
        chosen = placement.choose([engine.outstanding for engine in engines], costs)
        self._give(request, engines[chosen], costs[chosen])
        return True

    def _give(self, request: _Request, engine: _Engine, cost: int) -> None:
        """Give a request that no engine has to one, which has so many tokens to compute before it goes on."""
        media = request.prompt.media
        with_pixels = bool(media) and (request.with_pixels or not engine.known.has_seen(request.outline))
        engine.known.note(request.outline)
        request.id = next(self._ids)
        request.engine = engine
        request.cost = cost
        engine.requests[request.id] = request
        assert engine.process is not None
        engine.process.send(
            Submit(
                id=request.id,
                token_ids=request.prompt.token_ids,
                answer=tuple(request.answer),
                media=media,
                salt=request.prompt.salt,
                with_pixels=with_pixels,
                sampling=request.sampling,
                log_id=request.log_id,
            ),
            request.prompt.pixels if with_pixels else None,
        )

    def _release(self) -> None:
        """Dispatch what is held, as far as it may be; those on trial last, for they may have to wait for each other."""
        held, self._held = sorted(self._held, key=lambda request: request.on_trial), []
        while held and self._dispatch(held.pop(0)):
            pass
        self._held += held

    def _forget(self, request: _Request) -> None:
        self._requests.discard(request)
        if request.engine is not None:
            request.engine.requests.pop(request.id, None)
        elif request in self._held:
            self._held.remove(request)
        if request.on_trial:
            self._release()

    def _end(self, request: _Request, last: Token | EngineError) -> None:
        """Give a request the last thing that it gets."""
        self._forget(request)
        request.arrived.put_nowait(last)

    def _abort(self, request: _Request) -> None:
        """Drop a request whose reader is gone; one that has ended is fine."""
        if request in self._requests:
            self._forget(request)
            if request.engine is not None and request.engine.process is not None:
                request.engine.process.send(Abort(request.id))

    def _launch(self, engine: _Engine) -> None:
        engine.state = "loading"
        engine.load = Load()
        config = WorkerConfig(self._boot, engine.index, self._limits(), self._lines)
        engine.process = EngineProcess(
            config, lambda message: self._receive(engine, message), lambda code: self._ended(engine, code)
        )

    def _receive(self, engine: _Engine, message: Ready | Refused | Outputs) -> None:
        was_silent, engine.silent = engine.silent >= _SILENT_SECONDS, 0.0
        match message:
            case Outputs():
                if message.load.newest > engine.load.newest:
                    _begin(engine.requests.values(), message.load.newest)
                engine.load = message.load
                for request_id, item in message.items:
                    request = engine.requests.get(request_id)
                    if request is not None:  # else it was dropped while this was on its way
                        engine.failures = 0
                        self._deliver(request, item)
                if was_silent and engine.state == "ready":
                    self._take_back(engine)
            case Ready():
                logger.info("Engine %d is ready", engine.index)
                engine.load = message.load
                engine.known = Known(message.load.kv_blocks_total)
                engine.state = "ready"
                self._model = message
                if engine.process is not None:
                    engine.process.send(self._limits())  # they may have changed while it loaded
                if not engine.loaded.done():
                    engine.loaded.set_result(None)
                self._release()
                self._take_back(engine)
            case Refused():
                if engine.loaded.done():
                    logger.error("Engine %d: %s", engine.index, message.message)
                else:
                    engine.loaded.set_exception(checkpoint.ModelError(message.message))

    def _deliver(self, request: _Request, item: Token | EngineError) -> None:
        if isinstance(item, PixelsForgotten):
            self._withdraw(request)
            request.with_pixels = True
            self._dispatch(request)
            return
        if isinstance(item, Token) and not request.answer and request.begun is not None:
            item = replace(item, queued_seconds=request.begun - request.admitted)
        if isinstance(item, EngineError) or item.finish_reason is not None:
            self._end(request, item)
            return
        request.answer.append(item.id)
        request.cost = 0
        request.arrived.put_nowait(item)
        was_on_trial, request.deaths = request.on_trial, 0
        if was_on_trial:
            self._release()

    def _ended(self, engine: _Engine, exit_code: int | None) -> None:
        """An engine's process is gone: start it again, and let its requests go on."""
        newest = engine.load.newest
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
        engine.failures += 1
        engine.restarts += 1
        delay = 0.0 if engine.failures == 1 else min(0.5 * 2**engine.failures, _LONGEST_BACKOFF)
        lost, engine.requests = list(engine.requests.values()), {}
        begun = [request for request in lost if request.id <= newest]
        logger.error(
            "Engine %d ended with exit code %s; starting it again in %g s",
            *(engine.index, exit_code, delay),
            extra=_naming(begun),
        )
        engine.state = "loading"
        self._spawn(self._restart(engine, delay))
        for request in [r for r in begun if r.on_trial] or begun:
            request.deaths += 1
        for request in lost:
            request.engine = None
            request.moves += 1
            if request.deaths >= _GUILTY or request.moves >= _MOVES:
                self._end(request, EngineFailed("The engine that computed this answer failed. Send the request again."))
            else:
                self._dispatch(request)
        self._release()
        if all(other.failures >= _STARTS for other in self._engines):
            for request in list(self._held):
                self._end(request, NotReady("No engine comes up."))

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
        """Take the requests of engines that are silent, and kill those that hang: the rest follows from their end."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            for engine in self._engines:
                if engine.state != "ready" or engine.process is None:
                    continue
                engine.silent += _TICK_SECONDS
                step = engine.load.step_seconds
                if engine.silent > self._hang_seconds or step > self._step_seconds:
                    logger.error(
                        "Engine %d hangs: silent for %.1f s, in one step for %.0f s", engine.index, engine.silent, step
                    )
                    engine.state = "loading"
                    engine.process.kill()
                elif engine.silent >= _SILENT_SECONDS:
                    self._relieve(engine)

    def _relieve(self, silent: _Engine) -> None:
        """Let the requests of a silent engine go on in another, if there is one."""
        assert silent.process is not None
        others = [e for e in self._engines if e.state == "ready" and e.silent < _SILENT_SECONDS]
        if not others or not silent.requests:
            return
        logger.warning(
            "Engine %d is silent; %d request(s) go on elsewhere",
            *(silent.index, len(silent.requests)),
            extra=_naming(silent.requests.values()),
        )
        for request in list(silent.requests.values()):
            silent.process.send(Abort(request.id))
            self._withdraw(request)
            self._dispatch(request)

    def _take_back(self, engine: _Engine) -> None:
        """Give an engine that is back what waits in others, the oldest first, as long as it would be done sooner there."""
        for other in self._engines:
            if other is engine or other.process is None:
                continue
            for request in [r for r in other.requests.values() if r.id > other.load.newest and not r.on_trial]:
                cost = engine.cost(request)
                if engine.outstanding + cost >= other.outstanding - request.work + request.cost:
                    break
                other.process.send(Abort(request.id))
                self._withdraw(request)
                self._give(request, engine, cost)

    def _withdraw(self, request: _Request) -> None:
        """Take a request from its engine."""
        assert request.engine is not None
        del request.engine.requests[request.id]
        request.engine = None

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _naming(requests: Iterable[_Request]) -> dict[str, Any]:
    """What a log line about several requests says beside its message."""
    return {"fields": {"requests": [request.log_id for request in requests if request.log_id is not None]}}


def _begin(requests: Iterable[_Request], newest: int) -> None:
    """Note when an engine began with those up to this id; one that begins again elsewhere has waited no longer."""
    now = time.monotonic()
    for request in requests:
        if request.begun is None and request.id <= newest:
            request.begun = now
