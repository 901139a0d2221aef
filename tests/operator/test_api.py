"""The Kubernetes API as the operator speaks to it: Retry-After and the fence are obeyed, whatever wants to ask again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from omega_operator.api import Api, ApiError, Fenced


class Server:
    """Refuses what it is asked at the same time, each with its own Retry-After in seconds, and counts."""

    def __init__(self, *waits: int) -> None:
        self._waits = list(waits)
        self._all_here = asyncio.Barrier(len(waits))
        self.asked = 0
        self.address = ""

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
    server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    made = Api(ApiClient(Configuration(host=server.address)))
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


async def test_a_proxy_of_the_environment_is_used(
    api: tuple[Api, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API server that only a proxy reaches is reached, as kubectl reaches it."""
    _, proxy = api
    cluster = {"name": "c", "cluster": {"server": "http://kubernetes.invalid"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    given = {"clusters": [cluster], "contexts": [context], "users": [{"name": "u", "user": {}}], "current-context": "c"}
    (tmp_path / "config").write_text(json.dumps(given))
    monkeypatch.setenv("HTTP_PROXY", proxy.address)
    here = await Api.connect(kubeconfig=str(tmp_path / "config"))
    refused = await asyncio.gather(*(here.request("POST", "/a") for _ in range(2)), return_exceptions=True)
    await here.close()
    assert [getattr(error, "status", None) for error in refused] == [429, 429]
    assert proxy.asked == 2


@pytest.mark.parametrize("method", ["PATCH", "POST", "DELETE"])
async def test_a_write_that_was_begun_in_time_and_comes_late_is_not_sent(method: str) -> None:
    """What wakes up behind the fence sends not one byte, on a new connection and on one that is open; later ones go out."""
    received: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while got := await reader.read(65536):
            received.append(len(got))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    here = Api(ApiClient(Configuration(host=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")))
    for sent in range(2):
        in_time = [True, False]
        with pytest.raises(Fenced):
            await here.request(method, "/a", body={"a": 1}, fence=lambda: in_time.pop(0))  # noqa: B023 - called here
        assert not in_time
        assert len(received) == sent
        await here.request(method, "/a", body={"a": 1}, fence=lambda: True)
        assert len(received) == sent + 1
    await here.close()
    server.close()
    await server.wait_closed()
