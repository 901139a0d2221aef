"""The router and real engine processes: answers, aborts, deaths, hangs, limits. The faults are real signals."""

import asyncio
import os
import shutil
import signal

import pytest

from omega_schema.resource import Batching
from omega_schema.server_config import BootConfig
from omega_server.engine.request import (
    ContextLengthExceeded,
    EngineFailed,
    InvalidPrompt,
    NotReady,
    Prompt,
    QueueFull,
    Sampling,
)
from omega_server.engine.router import Router
from omega_server.model.checkpoint import ModelError

LONG = Sampling(900, ignore_eos=True)
TEXT = Prompt(tuple(range(10, 20)))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def boot(path, **changes):
    """A CPU server's boot configuration."""
    return BootConfig(**{"model_path": path, "model_name": "demo", "device": "cpu", "dtype": "float32"} | changes)


async def answer(router, prompt, sampling):
    """All tokens of an answer."""
    return tuple([token.id async for token in router.generate(prompt, sampling)])


async def begin(router, prompt=TEXT, sampling=LONG):
    """A stream whose first token has come."""
    stream = router.generate(prompt, sampling)
    await anext(stream)
    return stream


async def until(condition, seconds=300.0):
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_one_engine_through_its_life(model_path, dense_cases):
    """Concurrent answers equal generate(); an abort frees; a killed engine comes back and nothing that had not begun is lost."""
    router = Router(boot(model_path, max_length=1024), Batching(max_batch_size=4, max_queue=20))
    with pytest.raises(NotReady):
        await begin(router)
    await router.start()
    try:
        assert router.ready
        answers = await asyncio.gather(*(answer(router, case.prompt, Sampling(16)) for case in dense_cases))
        assert list(answers) == [case.expected for case in dense_cases]

        with pytest.raises(ContextLengthExceeded):
            await begin(router, Prompt(tuple([10] * 1024)))
        with pytest.raises(InvalidPrompt):
            await begin(router, Prompt((1, *dense_cases[4].prompt.token_ids)))

        stream = await begin(router)
        await until(lambda: router.snapshot()[0].kv_blocks_used > 0)
        await stream.aclose()
        await until(lambda: router.snapshot()[0].kv_blocks_used == 0 and router.snapshot()[0].running == 0)

        begun = await begin(router)
        os.kill(router.snapshot()[0].pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(answer(router, case.prompt, Sampling(16))) for case in dense_cases[:8]]
        await asyncio.sleep(0.1)
        os.kill(router.snapshot()[0].pid, signal.SIGKILL)
        with pytest.raises(EngineFailed):
            async for _ in begun:
                pass
        assert not router.ready
        assert list(await asyncio.gather(*waiting)) == [case.expected for case in dense_cases[:8]]
        state = router.snapshot()[0]
        assert (state.state, state.restarts) == ("ready", 1)
        await until(lambda: router.snapshot()[0].kv_blocks_used == 0)

        router.update(Batching(max_batch_size=1, max_queue=1))
        one = await begin(router)
        two = asyncio.create_task(answer(router, TEXT, Sampling(1)))
        await until(lambda: router.snapshot()[0].waiting == 1)
        with pytest.raises(QueueFull):
            await begin(router)
        await one.aclose()
        assert len(await two) == 1
        last = await begin(router)
    finally:
        await router.stop()
    with pytest.raises(NotReady):
        async for _ in last:
            pass
    assert router.snapshot()[0].state == "stopped"


async def test_two_engines_share_the_work_and_one_survives_the_other(model_path, dense_cases):
    """Work spreads over both; when one hangs it is killed and restarted, and the other's answers go on."""
    router = Router(boot(model_path, gpu_count=2, max_length=1024), Batching(), hang_seconds=3.0)
    await router.start()
    try:
        streams = [await begin(router) for _ in range(2)]
        await until(lambda: [state.running for state in router.snapshot()] == [1, 1])
        os.kill(router.snapshot()[0].pid, signal.SIGSTOP)
        results = await asyncio.gather(*(answer_rest(stream) for stream in streams), return_exceptions=True)
        failed = [isinstance(result, EngineFailed) for result in results]
        assert sorted(failed) == [False, True]
        assert [result for result in results if isinstance(result, int)] == [LONG.max_tokens - 1]
        await until(lambda: all(state.state == "ready" for state in router.snapshot()))
        assert [state.restarts for state in router.snapshot()] == [1, 0]

        picture = next(case for case in dense_cases if case.name == "picture 2")
        first = await begin(router, picture.prompt)
        await until(lambda: sum(state.running for state in router.snapshot()) == 1)
        home = [state.running for state in router.snapshot()]
        await first.aclose()
        await until(lambda: sum(state.running for state in router.snapshot()) == 0)
        again = await begin(router, picture.prompt)
        await until(lambda: sum(state.running for state in router.snapshot()) == 1)
        assert [state.running for state in router.snapshot()] == home
        await again.aclose()
    finally:
        await router.stop()


async def answer_rest(stream):
    """How many tokens still came."""
    return len([token async for token in stream])


async def test_a_model_that_cannot_be_served_is_said_at_the_start(tmp_path, model_path):
    """The user reads what is wrong, whether it is seen before or while the model is loaded, and no process is left."""
    router = Router(boot(str(tmp_path / "nothing"), gpu_count=2), Batching())
    with pytest.raises(ModelError, match="does not exist"):
        await router.start()
    with pytest.raises(ModelError, match="int8 is not supported"):
        await Router(boot(model_path, quantization="int8"), Batching()).start()
    shutil.copytree(model_path, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no weights")
    router = Router(boot(str(tmp_path / "damaged")), Batching())
    with pytest.raises(ModelError, match="cannot be loaded"):
        await router.start()
    assert [state.pid for state in router.snapshot()] == [None]
