"""Child: this engine without HTTP and without a process of its own for it; prompts are built in a thread beside it."""

import asyncio
import itertools
import queue
import statistics
import sys
import threading
import time
from typing import Any

import torch

from bench import lines
from bench.lines import Job
from omega_server.engine.engine import Engine, EngineLimits
from omega_server.engine.request import Prompt, Sampling, Token
from omega_server.media.picture import Picture
from omega_server.model.loader import load
from omega_server.prompt.messages import Turn
from omega_server.prompt.processor import Processor

MAX_LENGTH = 8192
IDLE_SECONDS = 0.05

_Arrival = tuple[int, Prompt]


def main() -> None:
    """Load the model and answer the parent until it is gone."""
    path, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    model = load(path, "float32", "cpu")
    limits = EngineLimits.of(model, max_length=MAX_LENGTH, max_batch_size=64, batch_timeout=0.0)
    engine = Engine(model, limits, time.monotonic)
    prompts = Processor(path, MAX_LENGTH)
    numbers = itertools.count()
    for asked in lines.requests():
        if "load" in asked:
            lines.reply(_run(engine, prompts, lines.jobs(asked["load"], time.monotonic()), numbers))
        else:
            lines.reply([overhead(engine, model, numbers, **asked["overhead"])])


def _run(engine: Engine, prompts: Processor, jobs: list[Job], numbers: "itertools.count[int]") -> list[Any]:
    """Answer all of them."""
    inbox: queue.SimpleQueue[_Arrival] = queue.SimpleQueue()
    by_number = {next(numbers): job for job in jobs}
    threading.Thread(target=lambda: asyncio.run(_build(prompts, by_number, inbox)), daemon=True).start()
    left = len(jobs)
    while left:
        for number, prompt in _arrived(inbox, patience=0.0 if engine.busy else IDLE_SECONDS):
            engine.submit(number, prompt, Sampling(by_number[number].tokens))
        for number, output in engine.step() if engine.busy else ():
            if not isinstance(output, Token):
                raise output
            by_number[number].pieces.append(time.monotonic())
            left -= output.finish_reason is not None
    return [job.result() for job in jobs]


async def _build(prompts: Processor, jobs: dict[int, Job], inbox: "queue.SimpleQueue[_Arrival]") -> None:
    for number, job in jobs.items():
        await asyncio.sleep(max(0.0, job.sent - time.monotonic()))
        turns = [Turn(message["role"], tuple(map(_part, lines.content(message)))) for message in job.messages]
        prompt, _ = await asyncio.to_thread(prompts.build, turns)
        inbox.put((number, prompt))


def _part(part: Any) -> str | Picture:
    return part if isinstance(part, str) else Picture(part.width, part.height, part.tobytes())


def _arrived(inbox: "queue.SimpleQueue[_Arrival]", patience: float) -> list[_Arrival]:
    found = []
    try:
        if patience:
            found.append(inbox.get(timeout=patience))
        while True:
            found.append(inbox.get_nowait())
    except queue.Empty:
        return found


def overhead(engine: Engine, model: Any, numbers: "itertools.count[int]", *, sequences: int, steps: int) -> dict:
    """How long steps take in which so many sequences get a token each, and how much of that is the model's forward.

    Args:
        engine: with nothing to do.
        model: its model; language model and output layer are the forward.
        numbers: of requests.
        sequences: that answer.
        steps: to measure.

    Returns:
        median seconds of a step, of the forward in it, and the median share of steps outside the forward. The latter two
        are None if the engine computes without calling the model's modules, so that nothing can be told apart.
    """
    watch = _Watch(model.model.language_model, model.lm_head)
    prompt = 64
    for number in itertools.islice(numbers, sequences):
        tokens = torch.randint(100, 900, (prompt,), generator=torch.Generator().manual_seed(number))
        # All of them are still answering in the last step that counts.
        engine.submit(number, Prompt(tuple(tokens.tolist())), Sampling(2 * steps + sequences, ignore_eos=True))
    totals: list[float] = []
    forwards: list[float] = []
    while len(totals) < steps:
        watch.seconds = 0.0
        begin = time.perf_counter()
        outputs = engine.step()
        total = time.perf_counter() - begin
        if len(outputs) == sequences and all(sequence.decoding for sequence in engine.scheduler.running):
            totals.append(total)
            forwards.append(watch.seconds)
    for sequence in list(engine.scheduler.running):
        engine.abort(sequence.id)
    watch.close()
    shares = [1 - forward / total for forward, total in zip(forwards, totals, strict=True)]
    seen = min(forwards) > 0
    return {
        "sequences": sequences,
        "step_s": statistics.median(totals),
        "forward_s": statistics.median(forwards) if seen else None,
        "share_outside": statistics.median(shares) if seen else None,
    }


class _Watch:
    """Adds up the time that modules take."""

    def __init__(self, *modules: torch.nn.Module) -> None:
        self.seconds = 0.0
        self._begin = 0.0
        self._hooks = [module.register_forward_pre_hook(self._enter) for module in modules]
        self._hooks += [module.register_forward_hook(self._leave) for module in modules]

    def close(self) -> None:
        """Watch no more."""
        for hook in self._hooks:
            hook.remove()

    def _enter(self, *_: Any) -> None:
        self._begin = time.perf_counter()

    def _leave(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._begin


if __name__ == "__main__":
    main()
