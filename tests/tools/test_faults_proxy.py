"""The proxy that does the harm: it does what it was told, and takes down what it did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import yaml
from aiohttp import web

from faults.proxy import Call, Cut, Faults, Proxy


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    """Before a server that answers everything, and whose watches bring three events."""

    async def answer(request: web.Request) -> web.Response:
        events = b"".join(b'{"number": %d}\n' % number for number in range(3))
        return web.Response(body=events if "watch" in request.query else b"{}", content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    body = {"clusters": [cluster], "users": [{"name": "u", "user": {}}], "contexts": [context], "current-context": "c"}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **body}))
    async with Proxy(tmp_path / "kubeconfig") as made:
        yield made
    await runner.cleanup()


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    """Speaks to the proxy."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{proxy.port}") as session:
        yield session


async def test_calls_are_passed_on_and_taken_down(proxy: Proxy, client: aiohttp.ClientSession) -> None:
    """A call without a fault gets the server's answer; reads are no writes."""
    async with client.get("/a") as answer:
        assert (answer.status, await answer.text()) == (200, "{}")
    async with client.patch("/b", data=b"{}") as answer:
        assert answer.status == 200
    assert [(str(call), call.status) for call in proxy.calls] == [("GET /a", 200), ("PATCH /b", 200)]
    assert [str(call) for call in proxy.writes()] == ["PATCH /b"]


async def test_refusals(proxy: Proxy, client: aiohttp.ClientSession) -> None:
    """Writes are refused at the rates asked for, and one that comes before its Retry-After is noticed."""
    proxy.faults = Faults(throttled=1.0)
    for _ in range(2):
        async with client.patch("/b") as answer:
            assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (429, True)
    (early,) = proxy.too_early()
    assert early.startswith("PATCH /b")
    for name in ("one", "other"):
        async with client.post("/c", json={"metadata": {"name": name}}) as answer:
            assert answer.status == 429
    assert proxy.too_early() == [early], "to make another object is another call"
    proxy.faults = Faults(conflicts=1.0)
    async with client.patch("/b") as answer:
        assert (await answer.json())["reason"] == "Conflict"


async def test_cut(proxy: Proxy, client: aiohttp.ClientSession) -> None:
    """A call is cut before the server gets it, or after it has answered."""

    def cut(call: Call) -> None:
        raise Cut

    for faults in (Faults(before=cut), Faults(after=cut)):
        proxy.faults = faults
        with pytest.raises(aiohttp.ClientError):
            await client.patch("/b")


async def test_down(proxy: Proxy, client: aiohttp.ClientSession) -> None:
    """Nobody answers until it is up again, on the same port."""
    await proxy.down()
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.get("/a")
    await proxy.up()
    async with client.get("/a") as answer:
        assert answer.status == 200


async def test_watches(proxy: Proxy, client: aiohttp.ClientSession) -> None:
    """Events are doubled, swapped, kept back, or refused as too old."""

    async def watch() -> list[str]:
        async with client.get("/a?watch=true") as answer:
            return (await answer.text()).splitlines()

    assert len(await watch()) == 3
    proxy.faults = Faults(doubled=1.0)
    assert len(await watch()) == 6
    proxy.faults = Faults(swapped=1.0)
    assert [line[-2] for line in await watch()] == ["1", "0"]  # the last is held until one follows
    proxy.faults = Faults(gone=True)
    assert '"code": 410' in (await watch())[0]
    proxy.faults = Faults(silent=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await watch()
