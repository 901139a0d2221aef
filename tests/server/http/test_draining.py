"""How long a server that has been told to stop lets requests in."""

import asyncio
import time
from collections.abc import Callable

import pytest
from demo_server import ROOT

from omega_server import settings
from omega_server.serving import LAST_CALL, Serving
from omega_server.wire.errors import NOT_READY, ApiError

MODEL = ROOT / "demo" / "model"


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Serving]:
    """A server that serves, without a model, and has so many seconds to drain."""
    monkeypatch.setattr(Serving, "_is_up", True)
    return lambda seconds: Serving(settings.read(["--model-path", str(MODEL), "--drain-seconds", str(seconds)], {}))


async def lets_in(serving: Serving, seconds: float) -> bool:
    """Whether each of many requests gets in, for so long or until one does not."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            serving.let_in({})
        except ApiError as error:
            if error.problem is not NOT_READY:
                raise
            return False
        await asyncio.sleep(0.01)
    return True


async def test_requests_that_still_come_are_taken(stopping: Callable[[int], Serving]) -> None:
    """A balancer that is slow to hear of it sends on, and nobody is refused; when nothing has come for a moment, it is over."""
    serving, hung_up = stopping(60), list[int]()
    draining = asyncio.create_task(serving.drain(hung_up.append))
    assert await lets_in(serving, 3 * LAST_CALL)
    assert not hung_up
    await draining
    assert hung_up == [LAST_CALL]
    assert not await lets_in(serving, 1)


async def test_there_is_time_left_to_answer_them(stopping: Callable[[int], Serving]) -> None:
    """Who goes on asking for ever is refused while there is still time to answer what was taken."""
    serving, hung_up = stopping(8), list[int]()
    draining = asyncio.create_task(serving.drain(hung_up.append))
    assert not await lets_in(serving, 60)
    assert serving.drain_left > 4
    await draining
