"""What the operator asks of a download's pod, and what it makes of the answers."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from omega_operator.downloads import INTERVAL, Downloads
from omega_operator.kinds import Key
from omega_operator.progress import Progress, parse, size

KEY = Key("vision", "vl")
ADDRESS = "127.0.0.77"
SAID = {"bytes": 5, "total": 10, "fetched": 3, "rate": 1, "silent": 0, "trouble": None}


def pod(uid: str = "a", *, running: bool = True) -> dict[str, Any]:
    """A download's pod."""
    state = {"running": {}} if running else {"terminated": {"exitCode": 0}}
    return {"metadata": {"uid": uid}, "status": {"podIP": ADDRESS, "containerStatuses": [{"state": state}]}}


@pytest.fixture
async def answers() -> AsyncIterator[list[str]]:
    """What the pod answers next; the last answer is repeated."""
    texts = [json.dumps(SAID)]

    async def progress(_: web.Request) -> web.Response:
        return web.Response(text=texts.pop(0) if len(texts) > 1 else texts[0])

    application = web.Application()
    application.router.add_get("/progress", progress)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, ADDRESS, 8000).start()
    yield texts
    await runner.cleanup()


async def test_a_download_is_asked_now_and_then(answers: list[str]) -> None:
    """An answer is good for a while; another pod is asked at once; one that is over is not asked at all."""
    now = 0.0
    async with aiohttp.ClientSession() as session:
        downloads = Downloads(session, lambda: now)
        assert downloads.next_look(KEY) is None
        assert await downloads.look(KEY, [pod()]) == Progress(bytes=5, total=10, rate=1, silent=0, trouble=None)
        answers[:] = [json.dumps(SAID | {"bytes": 6}), json.dumps(SAID | {"bytes": 7})]
        now = INTERVAL - 1
        kept = await downloads.look(KEY, [pod()])
        assert (kept and kept.bytes, downloads.next_look(KEY)) == (5, 1)
        now = INTERVAL
        asked = await downloads.look(KEY, [pod()])
        assert (asked and asked.bytes, downloads.next_look(KEY)) == (6, INTERVAL)
        another = await downloads.look(KEY, [pod(), pod("b")])
        assert another is not None
        assert another.bytes == 7
        assert await downloads.look(KEY, [pod(running=False)]) is None
        assert downloads.next_look(KEY) is None


async def test_a_pod_that_does_not_answer() -> None:
    """It says nothing, and is asked again."""
    async with aiohttp.ClientSession() as session:
        downloads = Downloads(session, lambda: 0.0)
        assert await downloads.look(KEY, [pod()]) is None
        assert downloads.next_look(KEY) == INTERVAL


@pytest.mark.parametrize("text", [None, b"", b"[]", b"{}", b"<html>", b'{"trouble": null, "bytes": "many"}'])
def test_something_else_on_the_port(text: bytes | None) -> None:
    """What is no progress counts as no answer."""
    assert parse(text) is None


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (8_000_000, "7.6 MiB"),
        (2**30 * 100, "100 GiB"),
        (2**60, "1048576 TiB"),
    ],
)
def test_sizes(count: int, words: str) -> None:
    """Bytes have three digits and a unit."""
    assert size(count) == words


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        ((0, 0, 0, 0), "the hub is being asked"),
        ((2**20, 2**21, 0, 0), "1.0 of 2.0 MiB (50 %)"),
        ((0, 2**40, 2**30, 0), "0.0 of 1.0 TiB (0 %), 1.0 GiB/s, 17 min left"),
        ((0, 2**40, 2**27, 0), "0.0 of 1.0 TiB (0 %), 128 MiB/s, 2.3 h left"),
        ((500, 1000, 100, 19), "500 of 1000 B (50 %), 100 B/s, 5 s left"),
        ((500, 1000, 100, 20), "500 of 1000 B (50 %), nothing has come for 20 s"),
    ],
)
def test_words(progress: tuple[int, int, int, int], words: str) -> None:
    """A progress in words that fit a status."""
    assert Progress(*progress, trouble=None).words == words
