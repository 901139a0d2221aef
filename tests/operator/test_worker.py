"""What becomes of a failure: when its resource is looked at again."""

import asyncio
import time
from typing import Any

import pytest

from omega_operator.api import ApiError, Conflict, NoAnswer
from omega_operator.kinds import Key
from omega_operator.metrics import Metrics
from omega_operator.queue import KeyQueue
from omega_operator.worker import work

A = Key("ns", "a")
TIMES = 20


class Impatient(KeyQueue):
    """A queue that takes down every delay, and lets nobody wait for it."""

    def __init__(self) -> None:
        super().__init__(clock=time.monotonic, jitter=lambda: 0.5, least_interval=0.0)
        self.delays: list[float] = []

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Without the delay."""
        if delay:
            self.delays.append(delay)
        super().add(key)


class Leader:
    """Leads."""

    async def wait(self) -> None:
        """At once."""


class Failing:
    """A reconciler whose writes fail, one like the other."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self._left = TIMES
        self.is_over = asyncio.Event()

    async def reconcile(self, key: Key) -> None:
        """Fail so many times, then do it."""
        if not self._left:
            self.is_over.set()
            return
        self._left -= 1
        raise self._error

    def progress(self, key: Key) -> int:
        """None."""
        return 0

    def knows(self, key: Key) -> bool:
        """It is there."""
        return True


@pytest.mark.parametrize(
    ("error", "longest"),
    [
        (Conflict(409, "somebody else wrote first"), 0.3),
        (ApiError(429, "too many requests", 2.0), 2.25),
        (Conflict(409, "busy", 2.0), 2.25),
        (ApiError(500, "internal error"), 60.0),
        (NoAnswer(0, "no answer"), 60.0),
        (ValueError("a defect"), 60.0),
    ],
    ids=["conflict", "retry-after", "conflict-with-retry-after", "error", "no-answer", "defect"],
)
async def test_how_long_the_next_try_takes(error: Exception, longest: float) -> None:
    """Soon after a conflict, when the server says so after Retry-After, ever later after anything else."""
    queue, reconciler = Impatient(), Failing(error)
    queue.add(A)
    helpers: Any = (queue, reconciler, Leader(), Metrics())
    task = asyncio.create_task(work(*helpers))
    await reconciler.is_over.wait()
    task.cancel()
    assert len(queue.delays) == TIMES
    assert max(queue.delays) == pytest.approx(longest, rel=0.1)
    assert (queue.delays[0] == queue.delays[-1]) == (longest < 60)
