"""Asks the pods of downloads how far they are."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import aiohttp

from omega_operator import pod
from omega_operator.kinds import Key, Manifest
from omega_operator.pods import answer
from omega_operator.progress import Progress, parse

INTERVAL = 5.0
"""Seconds for which an answer is good: each one that differs is written into the status."""


@dataclass(frozen=True)
class _Said:
    uid: str
    at: float
    progress: Progress | None


class Downloads:
    """Remembers each answer for a while, so that a status which tells of it does not make us ask again."""

    def __init__(self, session: aiohttp.ClientSession, clock: Callable[[], float]) -> None:
        """Args: for the questions, and a monotonic clock in seconds."""
        self._session, self._clock = session, clock
        self._said: dict[Key, _Said] = {}

    async def look(self, key: Key, pods: Iterable[Manifest]) -> Progress | None:
        """What the newest running pod says; None if there is none, or it does not answer."""
        running = [one for one in pods if pod.is_running(one)]
        if not running:
            self.forget(key)
            return None
        newest, said = running[-1], self._said.get(key)
        uid = newest["metadata"]["uid"]
        if said is None or said.uid != uid or self._clock() - said.at >= INTERVAL:
            progress = parse(await answer(self._session, newest, "/progress"))
            said = self._said[key] = _Said(uid, self._clock(), progress)
        return said.progress

    def next_look(self, key: Key) -> float | None:
        """Seconds until it is worth asking again; None if nobody is to be asked."""
        said = self._said.get(key)
        return None if said is None else max(said.at + INTERVAL - self._clock(), 0.0)

    def forget(self, key: Key) -> None:
        """Drop what is remembered about a download that is over."""
        self._said.pop(key, None)
