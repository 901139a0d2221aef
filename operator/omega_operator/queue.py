"""Keys that wait for a reconcile: each at most once, none twice at a time, not too often, and later after a failure.

Semantics of client-go's work queue: a key that is added while it is being worked on is handed out again afterwards.
"""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable

from omega_operator.kinds import Key


class KeyQueue:
    """The queue. Times are in seconds of `clock`."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
        least_interval: float = 0.05,
        first_delay: float = 0.2,
        longest_delay: float = 60.0,
        waited: Callable[[float], None] = lambda _: None,
    ) -> None:
        """An empty queue.

        Args:
            clock: monotonic, as the event loop's.
            jitter: a number in [0, 1) for each delay, so that failures do not come back in step.
            least_interval: between the beginnings of two reconciles of one key.
            first_delay: after the first failure; it doubles with each that follows.
            longest_delay: where the doubling ends.
            waited: hears for how long a key was due when it was handed out, in seconds.
        """
        self._waited = waited
        self._clock, self._jitter = clock, jitter
        self._least_interval, self._first_delay, self._longest_delay = least_interval, first_delay, longest_delay
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._working: dict[Key, float] = {}
        self._begun: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._asked: dict[Key, float] = {}
        self._serving: dict[Key, float] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Keys that wait."""
        return len(self._due)

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Ask for a reconcile, after a delay; an earlier one that is already asked for stands."""
        if not delay:
            self._asked.setdefault(key, self._clock())
        earliest = self._begun.get(key, float("-inf")) + self._least_interval
        due = max(self._clock() + delay, earliest)
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._changed.set()

    def retry(self, key: Key, retry_after: float = 0.0) -> float:
        """Ask again after a failure; the delay in seconds doubles with each one in a row, and is returned.

        One that says after how many seconds to come back is no failure in this sense: it is obeyed.
        """
        if retry_after:
            delay = retry_after * (1.0 + 0.25 * self._jitter())
        else:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            delay = min(self._first_delay * 2.0 ** min(failures, 32), self._longest_delay)
            delay *= 0.75 + 0.5 * self._jitter()
        self.add(key, delay)
        return delay

    def succeeded(self, key: Key) -> float | None:
        """Forget the failures of a key; returns the seconds since a change asked for what is done now."""
        self.forgive(key)
        asked = self._serving.pop(key, None)
        return None if asked is None else self._clock() - asked

    def forgive(self, key: Key) -> None:
        """Forget the failures of a key, which has got further than before."""
        self._failures.pop(key, None)

    def forget(self, key: Key) -> None:
        """Forget everything about a key whose resource is gone."""
        for memory in (self._failures, self._begun, self._asked, self._serving):
            memory.pop(key, None)

    async def get(self) -> Key:
        """Wait for a key that is due and hand it out; `done` must follow."""
        while True:
            self._changed.clear()
            key = self._pop()
            if key is not None:
                self._working[key] = self._begun[key] = self._clock()
                if key in self._asked:  # else it was asked for by itself, to look again
                    self._serving.setdefault(key, self._asked.pop(key))
                return key
            await self._sleep()

    def done(self, key: Key) -> None:
        """The reconcile of a key has ended, well or not."""
        self._working.pop(key, None)
        self._changed.set()

    def begin(self) -> None:
        """Nobody could work until now: what was due before is due now."""
        now = self._clock()
        self._asked = dict.fromkeys(self._asked, now)
        self._due = {key: max(due, now) for key, due in self._due.items()}
        self._heap = [(due, next(self._order), key) for key, due in self._due.items()]
        heapq.heapify(self._heap)
        self._changed.set()

    def has_due(self) -> bool:
        """Whether somebody could work on another key now."""
        now = self._clock()
        return any(due <= now for key, due in self._due.items() if key not in self._working)

    def overdue(self) -> float:
        """For how long the oldest key has been due, or worked on, in seconds: health."""
        now = self._clock()
        waiting = [due for key, due in self._due.items() if key not in self._working]
        return max((now - since for since in [*waiting, *self._working.values()]), default=0.0)

    def longest(self) -> float:
        """For how long the oldest reconcile that goes on has been going on, in seconds."""
        now = self._clock()
        return max((now - since for since in self._working.values()), default=0.0)

    def _pop(self) -> Key | None:
        later = []
        found = None
        while self._heap and self._heap[0][0] <= self._clock():
            entry = heapq.heappop(self._heap)
            due, _, key = entry
            if self._due.get(key) != due:
                continue  # asked for anew since, at another time
            if key in self._working:
                later.append(entry)
                continue
            del self._due[key]
            self._waited(self._clock() - due)
            found = key
            break
        for entry in later:
            heapq.heappush(self._heap, entry)
        return found

    async def _sleep(self) -> None:
        """Until the next key is due, or something changes. Keys that are being worked on wake us when they are done."""
        now = self._clock()
        due = min((at for key, at in self._due.items() if key not in self._working), default=None)
        timeout = None if due is None else max(due - now, 0.0)
        try:
            await asyncio.wait_for(self._changed.wait(), timeout)
        except TimeoutError:
            return
