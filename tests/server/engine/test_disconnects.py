"""A thousand readers that go away at random moments: nothing of their requests stays."""

import asyncio
import random
from contextlib import aclosing
from dataclasses import replace

import pytest

from omega_schema.resource import Batching
from omega_schema.server_config import BootConfig
from omega_server.engine.request import Prompt, Sampling
from omega_server.engine.router import Router

DISCONNECTS = 1000
LONG = Sampling(400, ignore_eos=True)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def unseen(prompt, dice):
    """A prompt that no engine knows: the pictures have other keys, so that they go through the vision tower again."""
    media = tuple(replace(medium, key=dice.randbytes(16)) for medium in prompt.media)
    return Prompt(prompt.token_ids if media else (*prompt.token_ids, dice.randrange(100, 200)), media)


async def read(router, prompt, tokens, seconds):
    """Read so many tokens of an answer, but go away after so many seconds."""
    async with aclosing(router.generate(prompt, LONG)) as stream:
        try:
            async with asyncio.timeout(seconds):
                async for _ in stream:
                    tokens -= 1
                    if tokens == 0:
                        return
        except TimeoutError:
            return


async def test_a_thousand_disconnects_leave_nothing(model_path, dense_cases):
    """Waiting, in the prompt, in the vision tower, answering: afterwards all slots and blocks are free."""
    boot = BootConfig(model_path=model_path, model_name="demo", device="cpu", dtype="float32", max_length=1024)
    router = Router(boot, Batching(max_batch_size=4))
    await router.start()
    dice = random.Random(2)
    left = DISCONNECTS

    async def keep_leaving():
        nonlocal left
        while left:
            left -= 1
            prompt = unseen(dice.choice(dense_cases).prompt, dice)
            await read(router, prompt, dice.randint(1, 8), dice.choice((0, 0.01, 0.1)) * dice.random())

    try:
        await asyncio.gather(*(keep_leaving() for _ in range(12)))
        async with asyncio.timeout(300):
            while any((s.running, s.waiting, s.kv_blocks_used) != (0, 0, 0) for s in router.snapshot()):
                await asyncio.sleep(0.005)
        case = dense_cases[0]
        assert tuple([t.id async for t in router.generate(case.prompt, Sampling(16))]) == case.expected
    finally:
        await router.stop()
