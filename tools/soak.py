"""Whether serving leaks: the memory of the router and of an engine's process after more and more requests.

    soak.py [--requests 10000] [--model demo/model]

Small requests of all kinds, eight at a time: text, pictures, greedy and drawn, with logprobs, and one of ten whose reader
goes away. All caches are small, or full early, so that only what should not grow can. A line for each thousand
requests; exit code 1 if either process has grown by more than 1 % since the first thousand.
"""

import argparse
import asyncio
import json
import random
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import torch

from omega_schema.resource import Batching
from omega_schema.server_config import BootConfig
from omega_server.engine import memory
from omega_server.engine.request import Medium, Prompt, Sampling
from omega_server.engine.router import Router

ROOT = Path(__file__).resolve().parent.parent
AT_ONCE = 8
PICTURES = 64  # contents; what the vision tower saw of all of them fits into its cache
STAGE = 1000  # requests
MOST = 0.01  # growth


class Requests:
    """Endless small requests."""

    def __init__(self, model: Path, seed: int) -> None:
        self._dice = random.Random(seed)
        config: dict[str, Any] = json.loads((model / "config.json").read_text())
        vision = config["vision_config"]
        self._image = int(config["image_token_id"])
        self._features = 3 * vision["temporal_patch_size"] * vision["patch_size"] ** 2

    def prompt(self) -> Prompt:
        """A prompt that was not there before, one of three with a picture."""
        words = tuple(self._dice.randrange(100, 300) for _ in range(self._dice.randint(8, 40)))
        if self._dice.random() < 2 / 3:
            return Prompt(words)
        content = self._dice.randrange(PICTURES)
        pixels = torch.rand((64, self._features), generator=torch.Generator().manual_seed(content))
        picture = Medium("image", pixels, (1, 8, 8), content.to_bytes(16, "big"))
        return Prompt((*words, *[self._image] * 16, *words[:4]), (picture,))

    def sampling(self) -> Sampling:
        """Greedy, or drawn with penalties and logprobs."""
        tokens = self._dice.randint(1, 12)
        if self._dice.random() < 1 / 2:
            return Sampling(tokens)
        return Sampling(
            tokens, temperature=1.0, top_p=0.9, repetition_penalty=1.1, presence_penalty=0.2, logprobs=3, min_tokens=2
        )

    def patience(self) -> int | None:
        """Tokens after which the reader goes away."""
        return self._dice.randint(1, 4) if self._dice.random() < 1 / 10 else None


async def serve(router: Router, requests: Requests, count: int) -> None:
    """Send so many requests, and read their answers."""
    left = count

    async def keep_asking() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            patience, read = requests.patience(), 0
            async with aclosing(router.generate(requests.prompt(), requests.sampling())) as tokens:  # type: ignore[type-var]
                async for _ in tokens:
                    read += 1
                    if read == patience:
                        break

    await asyncio.gather(*(keep_asking() for _ in range(AT_ONCE)))


async def soak(model: Path, count: int) -> bool:
    """Whether memory stays as it was after the first thousand."""
    boot = BootConfig(model_path=str(model), model_name="soak", device="cpu", dtype="float32", max_length=256)
    router = Router(boot, Batching(max_batch_size=AT_ONCE))
    await router.start()
    requests = Requests(model, seed=1)
    stages: list[tuple[int, int]] = []
    print("requests   engine MiB   router MiB", flush=True)
    try:
        for done in range(STAGE, count + 1, STAGE):
            await serve(router, requests, STAGE)
            await asyncio.sleep(1)  # until the engine has told
            stages.append((router.snapshot()[0].memory_bytes, memory.resident_bytes()))
            engine, own = (size / memory.MIB for size in stages[-1])
            print(f"{done:8} {engine:12.1f} {own:12.1f}", flush=True)
    finally:
        await router.stop()
    growth = [last / first - 1 for first, last in zip(stages[0], stages[-1], strict=True)]
    print(f"growth   {growth[0]:12.2%} {growth[1]:12.2%}")
    return max(growth) <= MOST


def main() -> int:
    """Do what the arguments say; the result is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10 * STAGE, help="how many")
    parser.add_argument("--model", type=Path, default=ROOT / "demo" / "model", help="a checkpoint")
    arguments = parser.parse_args()
    return 0 if asyncio.run(soak(arguments.model, arguments.requests)) else 1


if __name__ == "__main__":
    sys.exit(main())
