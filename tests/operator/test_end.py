"""The end of the operator's process, which the kubelet waits for before it starts another."""

import subprocess
import sys

import pytest

WATCH = """
import asyncio
import sys

import aiohttp
import kopf

from omega_operator import __main__ as operator
from omega_operator.settings import Settings

REASON = sys.argv[1]
operator.END_SECONDS = 0.2


async def end():
    if REASON == "signal":
        return
    gone = aiohttp.ClientResponseError(None, (), status=404)
    raise kopf.PermanentError("404 page not found") from gone


async def stuck():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print("cancelled", flush=True)


async def spawn_tasks(**_):
    return [asyncio.create_task(stuck()), asyncio.create_task(end())]


kopf.spawn_tasks = spawn_tasks
asyncio.run(operator._watch(kopf.OperatorRegistry(), Settings(server_image="s"), asyncio.Event()))
"""


@pytest.mark.parametrize("reason", ["signal", "gone"])
def test_a_task_of_kopf_that_does_not_end(reason: str) -> None:
    """It does not keep the process: whatever the reason to end was, the kubelet gets to start another."""
    ran = subprocess.run([sys.executable, "-c", WATCH, reason], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1, ran.stderr
    assert "cancelled" in ran.stdout
    assert "kopf does not end" in ran.stderr
    assert ("is no more" in ran.stderr) == (reason == "gone")
