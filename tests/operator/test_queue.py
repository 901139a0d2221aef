"""The queue of keys: each once, none twice at a time, not too often, later after each failure."""

import asyncio

import pytest

from omega_operator.kinds import Key
from omega_operator.queue import KeyQueue

A, B = Key("ns", "a"), Key("ns", "b")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At zero."""
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> KeyQueue:
    """An empty queue without chance."""
    return KeyQueue(clock=clock, jitter=lambda: 0.5, least_interval=0.0)


async def is_empty(queue: KeyQueue) -> bool:
    """Whether nothing is handed out now."""
    waiting = asyncio.create_task(queue.get())
    for _ in range(5):
        await asyncio.sleep(0)
    if waiting.done():
        queue.add(waiting.result())
        queue.done(waiting.result())
        return False
    waiting.cancel()
    return True


async def test_each_key_once(queue: KeyQueue) -> None:
    """A key that is asked for often is handed out once, in the order of the first asking."""
    for key in (A, B, A, A):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == [A, B]
    assert await is_empty(queue)


async def test_never_twice_at_a_time(queue: KeyQueue) -> None:
    """A key that is asked for while it is worked on comes again after that, not before."""
    queue.add(A)
    assert await queue.get() == A
    queue.add(A)
    assert await is_empty(queue)
    queue.done(A)
    assert await queue.get() == A


async def test_another_key_does_not_wait_for_it(queue: KeyQueue) -> None:
    """One key that takes long holds up no other."""
    queue.add(A)
    await queue.get()
    queue.add(A)
    queue.add(B)
    assert await queue.get() == B


async def test_delay(queue: KeyQueue, clock: Clock) -> None:
    """A delayed key comes when it is due; asking for it sooner wins, asking for it later changes nothing."""
    queue.add(A, delay=10.0)
    assert await is_empty(queue)
    queue.add(A, delay=5.0)
    queue.add(A, delay=50.0)
    clock.now = 5.0
    assert await queue.get() == A
    clock.now = 100.0
    assert await is_empty(queue)


async def test_whether_somebody_waits(queue: KeyQueue, clock: Clock) -> None:
    """A key waits once it is due and nobody works on it."""
    queue.add(A)
    assert queue.has_due()
    await queue.get()
    queue.add(A)
    queue.add(B, delay=5.0)
    assert not queue.has_due()
    clock.now = 5.0
    assert queue.has_due()


async def test_least_interval(clock: Clock) -> None:
    """However often the world changes, one resource is not reconciled without a pause."""
    queue = KeyQueue(clock=clock, least_interval=1.0)
    queue.add(A)
    await queue.get()
    queue.done(A)
    queue.add(A)
    assert await is_empty(queue)
    clock.now = 1.0
    assert await queue.get() == A


def test_backoff(queue: KeyQueue) -> None:
    """Delays double up to the longest, and start anew after a success or where there is progress."""
    delays = [queue.retry(A) for _ in range(12)]
    assert delays[:4] == [0.2, 0.4, 0.8, 1.6]
    assert delays[-1] == 60.0
    queue.succeeded(A)
    assert queue.retry(A) == 0.2
    queue.forgive(A)
    assert queue.retry(A) == 0.2


def test_what_the_api_server_asks_for(queue: KeyQueue) -> None:
    """It is obeyed, with some jitter, and makes the next delay no longer."""
    assert [queue.retry(B, 8.0) for _ in range(3)] == [9.0] * 3
    assert queue.retry(B) == 0.2


def test_jitter(clock: Clock) -> None:
    """Chance spreads a delay by a quarter to each side."""
    low, high = (KeyQueue(clock=clock, jitter=lambda value=value: value).retry(A) for value in (0.0, 1.0))
    assert (low, high) == pytest.approx((0.15, 0.25))


async def test_overdue(queue: KeyQueue, clock: Clock) -> None:
    """Health sees a key that nobody takes, and one whose work does not end."""
    assert queue.overdue() == 0.0
    queue.add(A)
    clock.now = 7.0
    assert queue.overdue() == 7.0
    await queue.get()
    assert queue.overdue() == 0.0
    clock.now = 10.0
    assert queue.overdue() == 3.0


async def test_waiting_ends_when_a_key_comes() -> None:
    """A worker that waits is woken by a new key, by a due one, and by the end of the work on its own key."""
    queue = KeyQueue(clock=asyncio.get_running_loop().time, least_interval=0.0)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(A, delay=0.01)
    assert await waiting == A
    queue.add(A)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.done(A)
    assert await waiting == A


async def test_time_since_a_change(queue: KeyQueue, clock: Clock) -> None:
    """It counts from the first news, over failures, and not for what a key asks for by itself."""
    queue.add(A)
    clock.now = 2.0
    queue.add(A)
    await queue.get()
    queue.done(A)
    queue.retry(A)
    clock.now = 5.0
    await queue.get()
    assert queue.succeeded(A) == 5.0
    queue.done(A)
    queue.add(A, delay=10.0)
    clock.now = 20.0
    await queue.get()
    assert queue.succeeded(A) is None


async def test_time_without_the_lead(queue: KeyQueue, clock: Clock) -> None:
    """What waited while nobody could work is neither overdue nor late when the work begins."""
    queue.add(A)
    clock.now = 1000.0
    queue.begin()
    assert queue.overdue() == 0.0
    await queue.get()
    clock.now = 1001.0
    assert queue.succeeded(A) == 1.0
