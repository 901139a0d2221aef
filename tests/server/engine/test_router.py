"""The router and real engine processes: answers, aborts, deaths, hangs, limits. The faults are real signals."""

import asyncio
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from omega_schema.resource import Batching
from omega_schema.server_config import BootConfig
from omega_server.engine import process
from omega_server.engine.request import (
    ContextLengthExceeded,
    InvalidPrompt,
    NotReady,
    Prompt,
    QueueFull,
    Sampling,
)
from omega_server.engine.router import Router
from omega_server.forks import Forked
from omega_server.model.checkpoint import ModelError

LONG = Sampling(900, ignore_eos=True)
DRAWN = Sampling(
    200, temperature=1.2, top_p=0.95, seed=7, presence_penalty=0.5, repetition_penalty=1.1, ignore_eos=True
)
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


async def rest(stream):
    """The tokens that still come."""
    return tuple([token.id async for token in stream])


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
    """Concurrent answers equal generate(); an abort frees; a killed engine comes back and every answer goes on exactly."""
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

        picture = next(case for case in dense_cases if case.name == "picture 1")
        unseen = Prompt(picture.prompt.token_ids, (replace(picture.prompt.media[0], key=b"unseen"),))
        os.kill(router.snapshot()[0].pid, signal.SIGSTOP)
        gone, again = (asyncio.create_task(answer(router, unseen, Sampling(16))) for _ in range(2))
        await asyncio.sleep(0.01)
        gone.cancel()  # its pixels are on the way, and it was thought that the other need not send them
        await asyncio.sleep(0.01)
        os.kill(router.snapshot()[0].pid, signal.SIGCONT)
        assert await again == picture.expected

        undisturbed = await answer(router, TEXT, DRAWN)
        begun = await begin(router, sampling=DRAWN)
        os.kill(router.snapshot()[0].pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(answer(router, case.prompt, Sampling(16))) for case in dense_cases[:8]]
        await asyncio.sleep(0.1)
        os.kill(router.snapshot()[0].pid, signal.SIGKILL)
        assert await rest(begun) == undisturbed[1:]
        assert list(await asyncio.gather(*waiting)) == [case.expected for case in dense_cases[:8]]
        state = router.snapshot()[0]
        assert (state.state, state.restarts) == ("ready", 1)

        begun = await begin(router, sampling=DRAWN)
        router._engines[0].process._process.pipe.send_bytes(b"nothing that could be read")
        assert await rest(begun) == undisturbed[1:]
        await until(lambda: router.snapshot()[0].restarts == 2)
        await until(lambda: router.snapshot()[0].state == "ready" and router.snapshot()[0].kv_blocks_used == 0)

        router.update(Batching(max_batch_size=1, max_queue=1), "info")
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
    """Work spreads over both; what a hung one has goes on in the other, exactly, before the hung one is killed."""
    router = Router(boot(model_path, gpu_count=2, max_length=1024), Batching(), hang_seconds=6.0)
    await router.start()
    try:
        undisturbed = await answer(router, TEXT, LONG)
        streams = [await begin(router) for _ in range(2)]
        await until(lambda: [state.running for state in router.snapshot()] == [1, 1])
        hung = router.snapshot()[0].pid
        os.kill(hung, signal.SIGSTOP)
        assert [await rest(stream) for stream in streams] == [undisturbed[1:]] * 2
        await until(lambda: [state.restarts for state in router.snapshot()] == [1, 0])
        await until(lambda: all(state.state == "ready" for state in router.snapshot()))

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


async def test_a_tower_that_hangs_costs_a_pause(model_path, dense_cases, tmp_path, monkeypatch, caplog):
    """An engine whose vision tower stands still gives signs of life, is killed nevertheless, and every answer goes on exactly."""
    (tmp_path / "model").symlink_to(model_path)
    (tmp_path / "hang").touch()
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(process, "Forked", lambda _, *rest, **named: Forked("hanging_tower", *rest, **named))
    router = Router(boot(str(tmp_path / "model"), max_length=1024), Batching(), hang_seconds=60.0, step_seconds=4.0)
    await router.start()
    try:
        picture = next(case for case in dense_cases if case.name == "picture 1")
        text = asyncio.create_task(answer(router, TEXT, DRAWN))
        assert await answer(router, picture.prompt, Sampling(16)) == picture.expected
        assert router.snapshot()[0].restarts == 1
        assert not (tmp_path / "hang").exists()
        assert await text == await answer(router, TEXT, DRAWN)
    finally:
        await router.stop()
    (line,) = [record.getMessage() for record in caplog.records if "hangs" in record.getMessage()]
    assert re.fullmatch(r"Engine 0 hangs: silent for \d+\.\d s, in one step for \d+ s", line)


async def test_a_model_that_cannot_be_served_is_said_at_the_start(tmp_path, model_path):
    """The user reads what is wrong, whether it is seen before or while the model is loaded, and no process is left."""
    router = Router(boot(str(tmp_path / "nothing"), gpu_count=2), Batching())
    with pytest.raises(ModelError, match="does not exist"):
        await router.start()
    with pytest.raises(ModelError, match="int8 works in engines of one GPU only"):
        await Router(boot(model_path, quantization="int8", gpu_count=2, tensor_parallel=2), Batching()).start()
    shutil.copytree(model_path, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no weights")
    router = Router(boot(str(tmp_path / "damaged")), Batching())
    with pytest.raises(ModelError, match="cannot be loaded"):
        await router.start()
    assert [state.pid for state in router.snapshot()] == [None]
