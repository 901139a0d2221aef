"""An Application of Argo CD, and everything that Argo CD says of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Moment:
    """What Argo CD said, from some moment on."""

    seconds: float
    """Since the watch began."""
    sync: str
    health: str
    revision: str
    """The commit that it has compared with."""

    def __str__(self) -> str:
        """One line."""
        return f"{self.seconds:8.1f} s  {self.sync:<10} {self.health:<12} {self.revision[:7]}"


@dataclass
class Application:
    """One Application, watched: no word is missed."""

    name: str
    moments: list[Moment] = field(default_factory=list)
    """Every change of what it said, oldest first."""
    newest: Manifest = field(default_factory=dict)
    """The whole object, as it is now."""
    _began: float = field(default_factory=time.monotonic)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = 240) -> None:
        """Wait until something holds; it is asked whenever Argo CD says something.

        Raises:
            AssertionError: it does not after so many seconds.
        """
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(holds)
        except TimeoutError:
            raise AssertionError(
                f"not so after {seconds:.0f} s: {what}\n{self}\n{json.dumps(self.newest.get('status'))}"
            ) from None

    async def until_says(self, sync: str, health: str, revision: str, seconds: float = 240) -> None:
        """Wait for a status and a health at a commit."""

        def holds() -> bool:
            newest = self.moments[-1:]
            return [(one.sync, one.health, one.revision) for one in newest] == [(sync, health, revision)]

        await self.until(holds, f"{sync} and {health} at {revision[:7]}", seconds)

    async def hear(self, newest: Manifest) -> None:
        """Take in what Argo CD says."""
        status = newest.get("status", {})
        sync, health = status.get("sync", {}), status.get("health", {})
        words = (sync.get("status", ""), health.get("status", ""), sync.get("revision", ""))
        async with self._news:
            self.newest = newest
            if not self.moments or words != (self.moments[-1].sync, self.moments[-1].health, self.moments[-1].revision):
                self.moments.append(Moment(time.monotonic() - self._began, *words))
            self._news.notify_all()

    def __str__(self) -> str:
        """All moments, one a line."""
        return "\n".join(map(str, self.moments))


@contextlib.asynccontextmanager
async def watched(kubectl: Sequence[str | Path], namespace: str, name: str) -> AsyncIterator[Application]:
    """Watch an Application, from what it is now.

    Args:
        kubectl: the command, with the cluster that it is for.
        namespace: of the Application.
        name: of the Application.
    """
    one = Application(name)
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/applications"
    # A watch of hours: of its own accord the API server would end it sooner.
    query = f"watch=true&fieldSelector=metadata.name%3D{name}&timeoutSeconds=14400"
    process = await asyncio.create_subprocess_exec(
        *kubectl, "get", "--raw", f"{path}?{query}", stdout=asyncio.subprocess.PIPE, limit=2**24
    )
    hearing = asyncio.create_task(_hear(process, one))
    try:
        yield one
        assert not hearing.done(), "the watch has ended by itself"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await hearing


async def _hear(process: asyncio.subprocess.Process, one: Application) -> None:
    assert process.stdout is not None, "it was asked for"
    async for line in process.stdout:
        event = json.loads(line)
        if event["type"] in {"ADDED", "MODIFIED"}:
            await one.hear(event["object"])
