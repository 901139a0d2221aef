"""The server's own engine gives the fork's tokens too, all cases at once."""

import time

import pytest
import torch

from omega_server.engine.engine import Engine, EngineLimits
from omega_server.engine.request import Medium, Prompt, Sampling
from omega_server.model import loader


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
