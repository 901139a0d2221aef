"""The Kubernetes API as the operator speaks to it: Retry-After is obeyed, whatever wants to ask again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from omega_operator.api import Api, ApiError


class Server:
    """Refuses what it is asked at the same time, each with its own Retry-After in seconds, and counts."""

    def __init__(self, *waits: int) -> None:
        self._waits = list(waits)
        self._all_here = asyncio.Barrier(len(waits))
        self.asked = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Refuse, the first last."""
        self.asked += 1
        wait = self._waits.pop(0)
        later = 0.1 * len(self._waits)
        await self._all_here.wait()
        await asyncio.sleep(later)
        return web.json_response({"message": "busy"}, status=429, headers={"Retry-After": str(wait)})


@pytest.fixture
async def api() -> AsyncIterator[tuple[Api, Server]]:
    """The API, and a server that asks one of two to wait for long and the other not, who hears of it later."""
    server = Server(1, 100)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    made = Api(ApiClient(settings))
    yield made, server
    await made.close()
    await runner.cleanup()


async def test_the_longest_wait_counts(api: tuple[Api, Server]) -> None:
    """Of two answers to the same request that ask to wait, the longer one holds; until then nothing is sent."""
    here, server = api
    refused = await asyncio.gather(*(here.request("POST", "/a") for _ in range(2)), return_exceptions=True)
    assert sorted(error.retry_after for error in refused if isinstance(error, ApiError)) == [1, 100]
    with pytest.raises(ApiError) as early:
        await here.request("POST", "/a")
    assert 90 < early.value.retry_after <= 100
    assert server.asked == 2
