"""The engine with quantized weights: answers are those of the same quantized model's generate()."""

import pytest

from omega_schema.resource import Batching
from omega_schema.server_config import BootConfig
from omega_server.engine.request import Sampling
from omega_server.engine.router import Router


def test_mixed_requests_equal_generate(quantized, quantized_cases, mixed):
    """Requests of all kinds that run together, in chunks, equal generate()."""
    mixed(quantized.engine(token_budget=48), quantized_cases, 40, seed=11)


@pytest.mark.parametrize("quantized", [("model-moe", "int4")], indirect=True)
async def test_an_engine_process_quantizes(quantized, quantized_cases, monkeypatch):
    """What the server is told reaches the process that loads the model."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    boot = BootConfig(
        str(quantized.path), "demo", dtype="float32", quantization=quantized.quantization, gpu_count=0, device="cpu"
    )
    router = Router(boot, Batching())
    await router.start()
    for case in quantized_cases[:6]:
        tokens = [token.id async for token in router.generate(case.prompt, Sampling(16))]
        assert tuple(tokens) == case.expected
    await router.stop()
