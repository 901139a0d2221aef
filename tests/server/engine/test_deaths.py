"""Engines that are killed while they answer: what the readers of the answers notice of it, which is nothing."""

import asyncio
import itertools
import os
import random
import signal

import pytest

from omega_schema.resource import Batching
from omega_schema.server_config import BootConfig
from omega_server.engine.request import EngineFailed, Prompt, Sampling
from omega_server.engine.router import Router

KILLS = 20
TEXT = Prompt(tuple(range(10, 20)))
DRAWN = Sampling(150, temperature=1.2, top_p=0.95, seed=7, presence_penalty=0.5, ignore_eos=True)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
async def two(model_path):
    """A router with two engines, ready."""
    boot = BootConfig(
        model_path=model_path, model_name="demo", device="cpu", dtype="float32", gpu_count=2, max_length=1024
    )
    router = Router(boot, Batching(max_batch_size=4))
    await router.start()
    yield router
    await router.stop()


async def answer(router, prompt, sampling):
    """All tokens of an answer."""
    return tuple([token.id async for token in router.generate(prompt, sampling)])


async def until(condition, seconds=300.0):
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def kill(router, index):
    """Kill an engine, and wait until the router has noticed."""
    os.kill(router.snapshot()[index].pid, signal.SIGKILL)
    await until(lambda: router.snapshot()[index].state != "ready")


async def all_ready(router):
    """Wait until every engine is up."""
    await until(lambda: all(state.state == "ready" for state in router.snapshot()))


async def all_free(router):
    """Wait until no engine has anything to do, and nothing is held."""
    await until(lambda: all((s.running, s.waiting, s.kv_blocks_used) == (0, 0, 0) for s in router.snapshot()))


async def works(router, index):
    """Wait until an engine has something to do."""
    await until(lambda: router.snapshot()[index].running > 0)


async def test_twenty_kills_change_no_answer(two, dense_cases):
    """Under load either engine is killed again and again: every answer is complete and exact, and no block is lost."""
    asks = [(case.prompt, Sampling(16), case.expected) for case in dense_cases]
    asks += [(TEXT, DRAWN, await answer(two, TEXT, DRAWN))] * len(asks)
    turn = itertools.cycle(asks)
    ends = asyncio.Event()
    answered = 0

    async def keep_asking():
        nonlocal answered
        while not ends.is_set():
            prompt, sampling, expected = next(turn)
            assert await answer(two, prompt, sampling) == expected
            answered += 1

    async with asyncio.TaskGroup() as load:
        for _ in range(6):
            load.create_task(keep_asking())
        dice = random.Random(1)
        for count in range(KILLS):
            victim = dice.randrange(2)
            await works(two, victim)
            await asyncio.sleep(dice.uniform(0, 0.3))
            await kill(two, victim)
            assert two.ready
            await all_ready(two)
            assert sum(state.restarts for state in two.snapshot()) == count + 1
        ends.set()
    assert answered > KILLS
    await all_free(two)


async def test_a_request_that_kills_engines_ends_alone(two, dense_cases):
    """What engines have begun when they die is given up in the end; what was there by chance is answered."""
    deadly = Prompt(tuple(range(20, 1000)))

    def home():
        """The engine that has begun with the deadly request."""
        for engine in two._engines:
            for request in engine.requests.values():
                if request.prompt.token_ids == deadly.token_ids and request.id <= engine.load.newest:
                    return engine
        return None

    async def kill_its_engines():
        while True:
            await until(home)
            await kill(two, home().index)

    killer = asyncio.create_task(kill_its_engines())
    asked = [asyncio.create_task(answer(two, case.prompt, Sampling(16))) for case in dense_cases[:4]]
    with pytest.raises(EngineFailed):
        await answer(two, deadly, Sampling(4))
    asked += [asyncio.create_task(answer(two, case.prompt, Sampling(16))) for case in dense_cases[4:]]
    assert [await task for task in asked] == [case.expected for case in dense_cases]
    killer.cancel()
    assert sum(state.restarts for state in two.snapshot()) == 4


async def test_an_engine_that_is_back_takes_what_waits_elsewhere(model_path):
    """What a dead engine had waits behind another's work only until the dead one is up again."""
    boot = BootConfig(
        model_path=model_path, model_name="demo", device="cpu", dtype="float32", gpu_count=2, max_length=4096
    )
    router = Router(boot, Batching(max_batch_size=1))
    await router.start()
    try:
        expected = await answer(router, TEXT, DRAWN)
        endless = Sampling(4000, ignore_eos=True)
        blocks = [router.generate(Prompt((30 + index, 31, 32)), endless) for index in range(2)]
        for stream in blocks:
            await anext(stream)
        await until(lambda: [state.running for state in router.snapshot()] == [1, 1])
        await kill(router, 0)
        waiting = asyncio.create_task(answer(router, TEXT, DRAWN))
        await until(lambda: router.snapshot()[1].waiting == 2)
        await until(lambda: [state.running for state in router.snapshot()] == [1, 1])
        for stream in blocks:
            await stream.aclose()
        assert await waiting == expected
        await all_free(router)
    finally:
        await router.stop()
