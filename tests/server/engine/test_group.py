"""Engines of two processes each: the same answers as from one, and none of them is left when one dies."""

import asyncio
import io
import os
import pickle
import shutil
import signal
from multiprocessing import connection
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from omega_schema.resource import Batching
from omega_schema.server_config import BootConfig
from omega_server.engine import group
from omega_server.engine.kv_cache import KVCache
from omega_server.engine.request import Sampling
from omega_server.engine.router import Router
from omega_server.model.checkpoint import ModelError


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def router(path, hang_seconds=10.0, **changes):
    """Of a CPU server."""
    options = {"model_name": "demo", "device": "cpu", "dtype": "float32", "max_length": 1024, "tensor_parallel": 2}
    return Router(
        BootConfig(model_path=str(path), **options | changes), Batching(max_batch_size=8), hang_seconds=hang_seconds
    )


async def answer(running, case):
    """The tokens of an answer."""
    return tuple([token.id async for token in running.generate(case.prompt, Sampling(16))])


def followers(pid):
    """Processes that a process has started."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def resident(pid):
    """Bytes of memory that a process occupies."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def gone(pid):
    """Whether a process has ended, be it that nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def listening(pid):
    """Addresses at which a process can be reached, as the kernel writes them."""
    sockets = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()
    ]
    return [line[1].rpartition(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets]


async def until(condition):
    """Wait for something to become true."""
    async with asyncio.timeout(300):
        while not condition():
            await asyncio.sleep(0.01)


async def test_two_processes_equal_one(model_path, dense_cases):
    """Texts, pictures and videos that run together equal generate(), also when a follower hangs under them."""
    running = router(model_path, hang_seconds=3.0, gpu_count=2)
    await running.start()
    try:
        leader = running.snapshot()[0].pid
        (follower,) = followers(leader)
        await until(lambda: running.snapshot()[0].memory_bytes > 1.5 * resident(leader))
        assert {*listening(leader), *listening(follower)} <= {"0100007F"}
        assert await asyncio.gather(*(answer(running, case) for case in dense_cases)) == [
            case.expected for case in dense_cases
        ]
        os.kill(follower, signal.SIGSTOP)
        interrupted = [asyncio.create_task(answer(running, case)) for case in dense_cases]
        assert await asyncio.gather(*interrupted) == [case.expected for case in dense_cases]
        assert running.snapshot()[0].restarts == 1
        await until(lambda: gone(leader) and gone(follower))
    finally:
        await running.stop()


@pytest.mark.parametrize("workshop", ["model-moe"], indirect=True)
async def test_two_engines_of_two_processes(workshop, cases, model_path):
    """Both engines equal generate(); when a follower dies, its engine does, and comes back; the other goes on."""
    running = router(Path(model_path).parent / "model-moe", gpu_count=4)
    await running.start()
    try:
        leaders = [engine.pid for engine in running.snapshot()]
        lost, kept = (followers(pid) for pid in leaders)
        assert len({*leaders, *lost, *kept}) == 4
        assert await asyncio.gather(*(answer(running, case) for case in cases)) == [case.expected for case in cases]
        os.kill(lost[0], signal.SIGKILL)
        await until(lambda: gone(leaders[0]))
        assert await asyncio.gather(*(answer(running, case) for case in cases)) == [case.expected for case in cases]
        await until(lambda: running.snapshot()[0].state == "ready")
        assert [state.restarts for state in running.snapshot()] == [1, 0]
        assert followers(leaders[1]) == kept
    finally:
        await running.stop()
    await until(lambda: gone(kept[0]))


async def test_a_model_that_cannot_be_loaded(tmp_path, model_path):
    """The user reads what is wrong, as from one process, and none is left."""
    shutil.copytree(model_path, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no weights")
    running = router(tmp_path / "damaged", gpu_count=2)
    with pytest.raises(ModelError, match="cannot be loaded"):
        await running.start()
    assert [state.pid for state in running.snapshot()] == [None]


def cache():
    """A small one."""
    shape = {"layers": 1, "blocks": 2, "block_size": 2, "heads": 1, "head_dim": 2}
    return KVCache(**shape, dtype=torch.float32, device=torch.device("cpu"))


def test_what_a_call_is_packed_into():
    """Tensors of every kind arrive as they were, and the engine's cache becomes the follower's."""
    tensors = [
        torch.arange(6.0).view(2, 3).T,
        torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        torch.tensor([True, False]),
        torch.tensor(7),
        torch.empty(0, 3),
    ]
    ours, theirs, stream = cache(), cache(), io.BytesIO()
    group._Packer(stream, ours).dump(("forward", (), {"tensors": tensors, "cache": ours, "none": None}))
    name, args, kwargs = group._Unpacker(io.BytesIO(stream.getvalue()), theirs).load()
    assert (name, args, kwargs["none"]) == ("forward", (), None)
    assert kwargs["cache"] is theirs
    for sent, got in zip(tensors, kwargs["tensors"], strict=True):
        assert got.dtype == sent.dtype
        assert torch.equal(got, sent)


def test_a_step_that_fails_ends_the_group(monkeypatch):
    """The followers may hang in it, so it is nothing that an engine could survive; scrubbing reaches them too."""
    ours, theirs = connection.Pipe()
    made = object.__new__(group.Group)
    made._pipes = [ours]
    model = SimpleNamespace(forward=lambda **_: 1 / 0)
    blocks = cache()
    made.lead(model, blocks)
    assert theirs.recv() == (2, 2)
    blocks.scrub([1])
    assert group._Unpacker(io.BytesIO(theirs.recv_bytes()), cache()).load() == ("scrub", ([1],), {})
    with pytest.raises(SystemExit) as end:
        model.forward(x=1)
    assert end.value.code == 1
    assert pickle.loads(theirs.recv_bytes())[0] == "forward"
