"""The server's own engine gives the fork's tokens too, all cases at once."""

import asyncio
import time

import pytest
import torch

from omega_schema.resource import Batching
from omega_schema.server_config import BootConfig
from omega_server.engine.engine import Engine, EngineLimits
from omega_server.engine.request import Medium, Prompt, Sampling
from omega_server.engine.router import Router
from omega_server.model import loader
from omega_server.model.convert import convert


def prompt_of(checkpoint, case) -> Prompt:
    """A case as the engine takes it."""
    features = checkpoint.process(case)
    media = []
    # A case has its pictures before its video, so this is the order of the placeholders.
    for kind, pixels, grids in (
        ("image", "pixel_values", "image_grid_thw"),
        ("video", "pixel_values_videos", "video_grid_thw"),
    ):
        if grids in features:
            sizes = [tuple(grid) for grid in features[grids].tolist()]
            parts = torch.split(features[pixels], [t * h * w for t, h, w in sizes])
            media += [
                Medium(kind, part, size, f"{case.name} {kind} {index}".encode())
                for index, (part, size) in enumerate(zip(parts, sizes, strict=True))
            ]
    return Prompt(tuple(case.input_ids), tuple(media))


@pytest.mark.parametrize("family", ["omega17_vl", "omega17_vl_exp"])
def test_the_engine_gives_the_forks_tokens(checkpoints, recordings, family):
    """Text, pictures and videos of one family, in flight together, are each answered as the fork answers them."""
    checkpoint = checkpoints[family]
    model = loader.load(str(checkpoint.path), "float32", "cpu")
    limits = EngineLimits.of(model, max_length=512, max_batch_size=8, batch_timeout=0.0)
    engine = Engine(model, limits, time.monotonic)
    cases = [case for case in recordings if case.family == family]
    for index, case in enumerate(cases):
        engine.submit(index, prompt_of(checkpoint, case), Sampling(max_tokens=len(case.tokens)))
    answers = {case.name: [] for case in cases}
    while engine.busy:
        for index, token in engine.step():
            answers[cases[index].name].append(token.id)
    assert answers == {case.name: case.tokens for case in cases}


async def test_two_processes_give_the_forks_tokens(checkpoints, recordings, tmp_path, monkeypatch):
    """So do two processes that share the mixture of experts, converted."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    checkpoint = checkpoints["omega17_vl_exp"]
    convert([str(checkpoint.path), str(tmp_path / "converted")])
    boot = BootConfig(
        model_path=str(tmp_path / "converted"),
        model_name="omega",
        max_length=512,
        device="cpu",
        dtype="float32",
        gpu_count=2,
        tensor_parallel=2,
    )
    router = Router(boot, Batching())
    await router.start()

    async def answer(case):
        sampling = Sampling(max_tokens=len(case.tokens))
        return [token.id async for token in router.generate(prompt_of(checkpoint, case), sampling)]

    try:
        cases = [case for case in recordings if case.family == "omega17_vl_exp"]
        assert await asyncio.gather(*(answer(case) for case in cases)) == [case.tokens for case in cases]
    finally:
        await router.stop()
