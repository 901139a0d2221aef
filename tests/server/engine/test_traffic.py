"""Requests of all kinds at random times, through the router to two engines: each gets what it would get alone."""

import asyncio
import random

from omega_schema.resource import Batching
from omega_schema.server_config import BootConfig
from omega_server.engine.request import Sampling
from omega_server.engine.router import Router

REQUESTS = 250
"""For each of the two models: 500 together."""
LONGEST = 16


def sampled(seed):
    """How the answer of a seeded request is chosen."""
    top_k, top_p, penalty = random.Random(seed).choice(((0, 1.0, 1.0), (20, 1.0, 1.0), (0, 0.9, 1.0), (50, 0.95, 1.2)))
    return Sampling(
        LONGEST, temperature=1.2, top_k=top_k, top_p=top_p, repetition_penalty=penalty, seed=seed, ignore_eos=True
    )


def alone(workshop, run, prompt, sampling):
    """What a request gets from an engine that it has for itself."""
    engine = workshop.engine()
    engine.submit(0, prompt, sampling)
    return tuple(token.id for token in run(engine)[0])


def more_cases(workshop):
    """Beside the usual cases: questions of many lengths, and pictures that begin alike and go on differently."""
    made = []
    for number in range(8):
        made.append(workshop.case("text", LONGEST, workshop.inputs("What is there? " * (1 + 2 * number))))
        pictures = [(70, 96, 96), (71 + number, 64 + 32 * (number % 3), 96)]
        made.append(workshop.case("pictures", LONGEST, workshop.inputs("Compare them.", pictures)))
    return made


async def traffic(router, plan):
    """Ask for each (delay before it, prompt, sampling) of a plan; the answers as token ids, and the cached tokens."""
    cached = []

    async def ask(prompt, sampling):
        ids = []
        async for token in router.generate(prompt, sampling):
            ids.append(token.id)
            cached.append(token.cached_tokens)
        return tuple(ids)

    asked = []
    for delay, prompt, sampling in plan:
        await asyncio.sleep(delay)
        asked.append(asyncio.create_task(ask(prompt, sampling)))
    return await asyncio.gather(*asked), cached


async def test_five_hundred_mixed_requests_get_what_they_would_get_alone(workshop, cases, run, monkeypatch):
    """With chunks, preemption, cached prefixes and two engines: greedy ones equal generate(), seeded ones themselves alone."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    dice = random.Random(5)
    known = [*cases, *more_cases(workshop)]
    seeded = [(case.prompt, sampled(seed)) for seed, case in enumerate(dice.sample(known, 12))]
    own = [alone(workshop, run, prompt, sampling) for prompt, sampling in seeded]

    plan, expected = [], []
    for _ in range(REQUESTS):
        if dice.random() < 0.2:
            place = dice.randrange(len(seeded))
            (prompt, sampling), answer = seeded[place], own[place]
        else:
            case, length = dice.choice(known), dice.randint(1, LONGEST)
            prompt, sampling, answer = case.prompt, Sampling(length), case.expected[:length]
        plan.append((dice.expovariate(1 / 0.01), prompt, sampling))
        expected.append(answer)

    # A cache for two of the longest requests at a time, in which then many shorter ones run: some must give way.
    longest = max(len(case.prompt.token_ids) for case in known) + LONGEST
    boot = BootConfig(
        model_path=workshop.path, model_name="demo", device="cpu", dtype="float32", gpu_count=2, max_length=longest
    )
    router = Router(boot, Batching(max_batch_size=2, max_queue=REQUESTS))
    await router.start()
    try:
        router.update(Batching(max_batch_size=24, max_queue=REQUESTS), "info")
        answers, cached = await traffic(router, plan)
        engines = router.snapshot()
    finally:
        await router.stop()
    assert answers == expected
    assert sum(tokens > 0 for tokens in cached) > REQUESTS / 10
    assert all(engine.preemptions > 0 for engine in engines)
    assert [(engine.restarts, engine.running, engine.kv_blocks_used) for engine in engines] == [(0, 0, 0)] * 2
