"""The live configuration on its way into running pods: nudge the kubelet, then ask each server what it applied."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import aiohttp

from omega_operator import labels, pod
from omega_operator.desired.service import PORT
from omega_operator.kinds import Key, Manifest
from omega_operator.kube import Kube
from omega_operator.observed import PodConfig

TIMEOUT = 1.0
"""Longest time for one pod's answer, in seconds."""

NUDGE_AGAIN = (2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds after which a pod that is still behind is nudged once more. The kubelet hears of the ConfigMap and of the nudge by
two watches: if the nudge comes first, it looks too early, and then not for a minute.
"""

LARGEST_ANSWER = 64 * 1024
"""Longest answer that is read, in bytes."""

_UNREACHED = PodConfig(reached=False)


@dataclass(frozen=True)
class _Wait:
    config: str
    since: float


class PodConfigs:
    """Asks the servers. Remembers which of them have said that they run a configuration, and asks only the others."""

    def __init__(self, session: aiohttp.ClientSession, kube: Kube, clock: Callable[[], float]) -> None:
        """Args: for the questions, for the nudges, and a monotonic clock in seconds."""
        self._session, self._kube, self._clock = session, kube, clock
        self._confirmed: dict[Key, dict[str, str]] = {}
        self._waits: dict[Key, dict[str, _Wait]] = {}

    async def settle(self, key: Key, pods: Iterable[Manifest], config: str) -> dict[str, PodConfig]:
        """Ask each running pod that has not confirmed this configuration yet, and nudge those that are behind.

        A pod that answers with the configuration needs no nudge: one that starts mounts the newest anyway.
        """
        running = [one for one in pods if pod.is_running(one)]
        before = self._confirmed.get(key, {})
        said = await asyncio.gather(*(self._ask(one, config, before) for one in running))
        behind = [one for one, answer in zip(running, said, strict=True) if answer.hash != config]
        self._remember(key, config, running, behind)
        await asyncio.gather(*(self._nudge(key, one, config) for one in behind))
        return {pod.name(one): answer for one, answer in zip(running, said, strict=True)}

    def next_look(self, key: Key) -> float | None:
        """Seconds until it is worth asking again, a third of how long it has taken already; None if all confirmed."""
        now = self._clock()
        waits = self._waits.get(key, {}).values()
        return min((min(max((now - wait.since) / 3, 0.05), 10.0) for wait in waits), default=None)

    def forget(self, key: Key) -> None:
        """Drop what is remembered about a resource that is gone."""
        self._confirmed.pop(key, None)
        self._waits.pop(key, None)

    def _remember(self, key: Key, config: str, running: list[Manifest], behind: list[Manifest]) -> None:
        new = _Wait(config, self._clock())
        old = self._waits.get(key, {})
        waits = {_identity(one): old.get(_identity(one), new) for one in behind}
        self._waits[key] = {uid: wait if wait.config == config else new for uid, wait in waits.items()}
        self._confirmed[key] = {_identity(one): config for one in running if one not in behind}

    async def _ask(self, one: Manifest, config: str, confirmed: Mapping[str, str]) -> PodConfig:
        if confirmed.get(_identity(one)) == config:
            return PodConfig(hash=config)
        return _config(await answer(self._session, one, "/ready"))

    async def _nudge(self, key: Key, one: Manifest, config: str) -> None:
        """A changed annotation makes the kubelet look at the pod at once, and so at its volumes."""
        waited = self._clock() - self._waits[key][_identity(one)].since
        due = 1 + sum(waited >= seconds for seconds in NUDGE_AGAIN)
        if pod.nudges(one, config) < due:
            await self._kube.annotate_pod(one, {labels.CONFIG: config, labels.NUDGES: str(due)})


async def answer(session: aiohttp.ClientSession, one: Manifest, path: str) -> bytes | None:
    """What a running pod answers on a path; None if it does not."""
    host = one["status"]["podIP"]
    address = f"http://[{host}]:{PORT}{path}" if ":" in host else f"http://{host}:{PORT}{path}"
    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with session.get(address, timeout=timeout, allow_redirects=False) as said:
            return await said.content.read(LARGEST_ANSWER)
    except (aiohttp.ClientError, TimeoutError):
        return None


def _identity(one: Manifest) -> str:
    """One life of a server process: a container that starts again confirms again."""
    restarts = sum(status.get("restartCount", 0) for status in one.get("status", {}).get("containerStatuses") or ())
    return f"{one['metadata']['uid']}/{restarts}"


def _config(text: bytes | None) -> PodConfig:
    """What an answer of /ready says. Something else that listens on the port says nothing."""
    try:
        config = json.loads(text or b"")["config"]
        said_hash, error = config["hash"], config["error"]
    except (ValueError, KeyError, TypeError):
        return _UNREACHED
    return PodConfig(hash=said_hash and str(said_hash)[:64], error=error and str(error)[:1024])
