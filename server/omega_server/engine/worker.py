"""The process of one engine. It loads the model, says that it is ready, and answers what comes through its pipe.

One thread reads the pipe, so that the router never waits for a long step; the main thread runs the engine and writes, once
for each step. A third gives signs of life, also during a long step: a process that gives none is stopped, and one that
does may still have a step that never ends, which is why each sign says how long the step has lasted. When the pipe
closes, the router is gone, and the process ends at once.
"""

import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from omega_schema.server_config import BootConfig
from omega_server.engine import memory
from omega_server.engine.attach import absent, attach
from omega_server.engine.engine import Engine, EngineLimits
from omega_server.engine.grammar import Grammar
from omega_server.engine.group import Group, Seat
from omega_server.engine.matcher import Grammars
from omega_server.engine.memory_file import MemoryFile
from omega_server.engine.messages import (
    BEAT_SECONDS,
    Abort,
    Load,
    Outputs,
    Ready,
    Refused,
    Stop,
    Submit,
    Update,
    WorkerConfig,
)
from omega_server.engine.request import EngineError, EngineFailed, InvalidGrammar, Prompt, Token
from omega_server.logs import about, set_level, set_up
from omega_server.model import checkpoint, loader

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Attached:
    """What the reader makes of a Submit: what takes a while is not for the main thread.

    Attributes:
        prompt: with its pictures.
        grammar: of the answer; or why there is none.
    """

    prompt: Prompt
    grammar: Grammar | EngineError | None


def main(config: WorkerConfig, pipe: Connection) -> None:
    """Run one engine until it is told to stop, or until the router is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the router decides what it means
    set_up(config.lines, engine=config.index)
    boot = config.boot
    group = None
    if boot.tensor_parallel > 1:  # before this process has a second thread, for it forks
        group = Group(Seat(boot, config.index, 0, _threads(boot), config.lines), pipe)
    torch.set_num_threads(_threads(boot))
    torch.set_num_interop_threads(1)
    inbox: queue.SimpleQueue[Submit | Abort | Update | Stop] = queue.SimpleQueue()
    attached: dict[int, _Attached] = {}
    grammars: Future[Grammars] = Future()
    threading.Thread(target=_read, args=(pipe, inbox, attached, grammars), name="pipe", daemon=True).start()
    try:
        engine = _engine(config, group)
    except checkpoint.ModelError as error:
        pipe.send(Refused(str(error)))
        return
    threading.Thread(target=_prepare, args=(grammars, boot.model_path, engine), name="grammars", daemon=True).start()
    loop = _Loop(engine, inbox, attached, pipe, group)
    with _vital("loop"):
        loop.run()


def _threads(boot: BootConfig) -> int:
    """Threads of torch on the CPU: this process's part of the cores, or what OMP_NUM_THREADS says."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return max(1, memory.cpu_cores() // _processes(boot)) if boot.device == "cpu" else 1


def _processes(boot: BootConfig) -> int:
    """Processes of all engines, which share the CPU and its memory."""
    return boot.engines * boot.tensor_parallel


def _engine(config: WorkerConfig, group: Group | None) -> Engine:
    boot = config.boot
    if group is not None:
        model = group.load()
    else:
        device = f"cuda:{config.index}" if boot.device == "cuda" else "cpu"
        model = loader.load(boot.model_path, boot.dtype, device, boot.quantization)
    limits = EngineLimits.of(
        model,
        max_length=boot.max_length,
        max_batch_size=config.limits.max_batch_size,
        batch_timeout=config.limits.batch_timeout,
        engines=_processes(boot),
    )
    engine = Engine(model, limits, time.monotonic)
    if group is not None:
        group.lead(model.model.language_model, engine.cache)
    return engine


def _prepare(grammars: "Future[Grammars]", model_path: str, engine: Engine) -> None:
    """Get ready for answers of a form. Others need not wait for that."""
    try:
        grammars.set_result(Grammars.load(model_path, engine.end_tokens, engine.vocabulary))
    except Exception as error:  # noqa: BLE001 - whoever wants a grammar gets it
        grammars.set_exception(error)


def _grammar(text: str | None, grammars: "Future[Grammars]") -> Grammar | EngineError | None:
    try:
        return None if text is None else grammars.result().begin(text)
    except InvalidGrammar as error:
        return error
    except Exception:
        logger.exception("There are no grammars for this model")
        return EngineFailed("This model cannot answer in a given form.")


def _read(
    pipe: Connection,
    inbox: "queue.SimpleQueue[Submit | Abort | Update | Stop]",
    attached: dict[int, _Attached],
    grammars: "Future[Grammars]",
) -> None:
    """Hand over what comes through the pipe; end the process when the router is gone."""
    with _vital("reader"):
        while True:
            message = pipe.recv()
            if isinstance(message, Submit):
                pixels = MemoryFile.receive(pipe) if message.with_pixels else None
                media = absent(message.media) if pixels is None else attach(message.media, pixels)
                with about(message.log_id):
                    grammar = _grammar(message.sampling.grammar, grammars)
                prompt = Prompt(message.token_ids, media, message.salt, message.log_id)
                attached[message.id] = _Attached(prompt, grammar)
            inbox.put(message)


@contextmanager
def _vital(name: str) -> Iterator[None]:
    """A part without which the process is of no use: when it fails, all of it ends at once, whatever other threads do."""
    try:
        yield
    except (EOFError, ConnectionError):
        os._exit(0)  # the router is gone: nobody is left to answer to, and a step may run for long
    except BaseException:
        logger.exception("The %s of the engine failed", name)
        os._exit(1)  # the router starts a new one


class _Loop:
    """The main thread: takes messages between steps, sends what each step yields."""

    def __init__(
        self,
        engine: Engine,
        inbox: "queue.SimpleQueue[Submit | Abort | Update | Stop]",
        attached: dict[int, _Attached],
        pipe: Connection,
        group: Group | None,
    ) -> None:
        self._engine = engine
        self._inbox = inbox
        self._attached = attached
        self._pipe = pipe
        self._group = group
        self._writing = threading.Lock()
        self._outputs: list[tuple[int, Token | EngineError]] = []
        self._dropped = False
        self._stopped = False
        self._step_began: float | None = None
        self._memory = memory.resident_bytes()

    def run(self) -> None:
        """Until a Stop comes."""
        engine = self._engine
        self._pipe.send(Ready(engine.scheduler.max_length, engine.placeholders, engine.blocks.block_size, self._load()))
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        while not self._stopped:
            self._take()
            if self._dropped:
                self._tell(())  # what is free now should be known before the next step is over
                self._dropped = False
            if engine.busy and engine.wait() == 0:
                self._step_began = time.monotonic()
                newest = engine.newest
                self._outputs += engine.admit()
                if engine.newest > newest:
                    self._tell(())  # if the step is the end of this process, they are who may have caused it
                self._outputs += engine.step()
                self._step_began = None
            if self._outputs:
                self._tell(tuple(self._outputs))
                self._outputs = []

    def _take(self) -> None:
        """Take all messages that are there; wait for one if there is nothing else to do."""
        patience = self._engine.wait() if self._engine.busy else None
        try:
            self._handle(self._inbox.get_nowait() if patience == 0 else self._inbox.get(timeout=patience))
            while not self._stopped:
                self._handle(self._inbox.get_nowait())
        except queue.Empty:
            return

    def _handle(self, message: Submit | Abort | Update | Stop) -> None:
        match message:
            case Submit():
                attached = self._attached.pop(message.id)
                try:
                    if isinstance(attached.grammar, EngineError):
                        raise attached.grammar
                    self._engine.submit(message.id, attached.prompt, message.sampling, message.answer, attached.grammar)
                except EngineError as error:
                    self._outputs.append((message.id, error))
            case Abort():
                self._engine.abort(message.id)
                self._dropped = True
            case Update():
                set_level(message.log_level)
                self._engine.update(max_batch_size=message.max_batch_size, batch_timeout=message.batch_timeout)
            case Stop():
                self._stopped = True

    def _beat(self) -> None:
        begun = given_back = self._engine.newest
        with _vital("beat"):
            while True:
                time.sleep(BEAT_SECONDS)
                idle, begun = not self._engine.busy and begun == self._engine.newest, self._engine.newest
                if idle and begun > given_back:
                    memory.give_back()
                    given_back = begun
                alive = self._group is None or self._group.alive()
                self._memory = memory.resident_bytes() + (self._group.memory_bytes if self._group else 0)
                if alive:
                    self._tell(())

    def _tell(self, items: tuple[tuple[int, Token | EngineError], ...]) -> None:
        with self._writing:
            self._pipe.send(Outputs(items, self._load()))

    def _load(self) -> Load:
        engine, began = self._engine, self._step_began
        return Load(
            running=len(engine.scheduler.running),
            waiting=len(engine.scheduler.waiting),
            newest=engine.newest,
            kv_blocks_used=engine.blocks.used,
            kv_blocks_total=engine.blocks.total,
            preemptions=engine.scheduler.preemptions,
            vision_queries=engine.vision.queries,
            vision_hits=engine.vision.hits,
            memory_bytes=self._memory,
            step_seconds=max(engine.vision.still_seconds, 0.0 if began is None else time.monotonic() - began),
        )
