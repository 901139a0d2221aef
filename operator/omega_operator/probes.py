"""/healthz, /readyz and /metrics of the operator itself."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from omega_operator.audit import Audit
from omega_operator.election import Election
from omega_operator.metrics import Metrics
from omega_operator.queue import KeyQueue

STUCK_SECONDS = 120.0
"""A resource that is due for so long means that the workers are stuck."""


@dataclass(frozen=True)
class Checks:
    """What is asked about the process."""

    audit: Audit
    queue: KeyQueue
    election: Election
    started: asyncio.Event

    def unhealthy(self) -> str | None:
        """What only a restart repairs, in words, or None."""
        if self.audit.stale:
            return f"these watches bring no news: {', '.join(self.audit.stale)}"
        waited = self.queue.overdue()
        if self.election.leads() and waited > STUCK_SECONDS:
            return f"a resource has waited for {waited:.0f} s"
        return None

    def unready(self) -> str | None:
        """What still has to happen, or None."""
        if not self.started.is_set():
            return "the watches are not set up yet"
        if not self.audit.is_complete.is_set():
            return "the watches have not brought everything yet"
        return None if self.election.has_answer else "the API server has not answered yet"


async def serve(port: int, checks: Checks, metrics: Metrics) -> web.AppRunner:
    """Listen on a TCP port; the caller cleans up the runner."""

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), content_type="text/plain")

    app = web.Application()
    app.router.add_get("/healthz", _answer(checks.unhealthy))
    app.router.add_get("/readyz", _answer(checks.unready))
    app.router.add_get("/metrics", show)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner


def _answer(check: Callable[[], str | None]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        problem = check()
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    return handle
