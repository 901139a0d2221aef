"""Workers that train one model together: one process and one thread each.

On a few cores this is much faster than one process with as many threads, since the workers meet once a step and not
at every small operation; even more so where other programs want the cores too.
"""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Crew:
    """What a worker knows of the others."""

    worker: int
    workers: int

    @property
    def first(self) -> bool:
        """Whether this is the worker that speaks and saves for all."""
        return self.worker == 0

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gives every worker the mean of all workers' gradients. All must call it for the same parameters."""
        if self.workers == 1:
            return
        several = list(parameters)
        for p in several:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = torch.cat([p.grad.flatten() for p in several if p.grad is not None])
        dist.all_reduce(flat)
        flat /= self.workers
        start = 0
        for p in several:
            if p.grad is not None:
                p.grad.copy_(flat[start : start + p.numel()].view_as(p))
                start += p.numel()


def run(workers: int, work: Callable[[Crew], None]) -> None:
    """Calls work in that many processes, forked so that what is in memory is shared. RuntimeError if one fails."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        crew = [
            context.Process(target=_work, args=(Crew(i, workers), work, Path(folder) / "meeting"))
            for i in range(workers)
        ]
        for process in crew:
            process.start()
        for process in crew:
            process.join()
    if any(process.exitcode for process in crew):
        raise RuntimeError("a training process failed; its error is above")


def _work(crew: Crew, work: Callable[[Crew], None], meeting: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=crew.worker, world_size=crew.workers)
    try:
        work(crew)
    finally:
        dist.destroy_process_group()
