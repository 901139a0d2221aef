"""What a fault may cost: the rest of an answer elsewhere, the reason why engines die, memory that is not there."""

import io
import json
import logging
from dataclasses import replace

import pytest
import torch

from omega_server.engine.attach import absent
from omega_server.engine.pixels import share
from omega_server.engine.request import EngineFailed, Overloaded, PixelsForgotten, Sampling
from omega_server.logs import JsonFormatter

DRAWN = Sampling(
    24,
    temperature=1.3,
    top_p=0.95,
    seed=11,
    presence_penalty=0.7,
    frequency_penalty=0.4,
    repetition_penalty=1.2,
    min_tokens=10,
    logit_bias={20: 3.0},
    logprobs=2,
)


@pytest.mark.parametrize("sampling", [Sampling(16), DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("name", ["text 1", "three pictures", "video"])
def test_an_answer_goes_on_exactly_in_another_engine(dense, dense_cases, run, sampling, name):
    """Prompt, sampling with its seed and the tokens so far are enough for the rest, wherever it was cut."""
    prompt = next(case for case in dense_cases if case.name == name).prompt
    engine = dense.engine()
    engine.submit(0, prompt, sampling)
    whole = run(engine)[0]
    for cut in {1, len(whole) // 2, len(whole) - 1} - {0}:
        other = dense.engine()
        other.submit(5, prompt, sampling, [token.id for token in whole[:cut]])
        rest = run(other)[5]
        assert [(t.id, t.finish_reason) for t in rest] == [(t.id, t.finish_reason) for t in whole[cut:]]
        assert [t.logprob for t in rest] == [pytest.approx(t.logprob, abs=1e-4) for t in whole[cut:]]
        assert all(token.cached_tokens == 0 for token in rest)
        assert other.blocks.used == 0


def unsent(prompt):
    """The prompt as it comes when the router thinks that its pictures are known."""
    return replace(prompt, media=absent(share(prompt).media))


def test_a_known_picture_need_not_come_again(dense, dense_cases, run):
    """Without pixels a known picture serves as with them; one that is not known is asked for, and nothing is kept."""
    case = next(case for case in dense_cases if case.name == "three pictures")
    engine = dense.engine()
    engine.submit(1, unsent(case.prompt), Sampling(16))
    assert [type(output) for output in run(engine)[1]] == [PixelsForgotten]
    assert engine.blocks.used == 0
    engine.submit(2, case.prompt, Sampling(4))
    run(engine)
    engine.submit(3, unsent(case.prompt), Sampling(16), case.expected[:2])
    assert tuple(token.id for token in run(engine)[3]) == case.expected[2:]
    assert engine.vision.runs == 1


def test_who_came_last_gives_way_when_memory_runs_out(dense, dense_cases, run, monkeypatch, caplog):
    """A step that needs more memory than there is costs time, not answers; all of them equal generate()."""
    engine = dense.engine(token_budget=64)
    compute = engine.runner.run
    enough = max(len(case.prompt.token_ids) for case in dense_cases) + 16

    def short_of_memory(step):
        if sum(chunk.end for chunk in step.chunks) > enough:
            raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB.")
        return compute(step)

    monkeypatch.setattr(engine.runner, "run", short_of_memory)
    for number, case in enumerate(dense_cases):
        engine.submit(number, case.prompt, Sampling(16))
    with caplog.at_level(logging.CRITICAL):
        yielded = run(engine)
    for number, case in enumerate(dense_cases):
        assert tuple(token.id for token in yielded[number]) == case.expected
    assert engine.scheduler.preemptions > 0
    assert engine.blocks.used == 0


def test_the_log_says_whose_request_failed(dense, dense_cases, run, monkeypatch):
    """The line about a request that fails has the id by which the server knows it; others have none of it."""
    engine = dense.engine()

    def broken(step):
        raise ValueError("no")

    monkeypatch.setattr(engine.runner, "run", broken)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter({}))
    logging.getLogger("omega_server.engine.engine").addHandler(handler)
    try:
        for number, case in enumerate(dense_cases[:2]):
            engine.submit(number, replace(case.prompt, log_id=f"id-{number}"), Sampling(4))
        yielded = run(engine)
    finally:
        logging.getLogger("omega_server.engine.engine").removeHandler(handler)
    assert {type(output) for outputs in yielded.values() for output in outputs} == {EngineFailed}
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert {line["request_id"] for line in lines if line["message"] == "Failed"} == {"id-0", "id-1"}
    several = [line for line in lines if "running them one by one" in line["message"]]
    assert all(line["requests"] == ["id-0", "id-1"] and "request_id" not in line for line in several)


def test_only_what_runs_out_of_memory_alone_is_refused(dense, dense_cases, run, monkeypatch, caplog):
    """A prompt that needs too much memory alone ends with Overloaded, and the others are answered."""
    engine = dense.engine()
    compute = engine.runner.run

    def too_large(step):
        if any(chunk.sequence.id == 3 for chunk in step.chunks):
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
            )
        return compute(step)

    monkeypatch.setattr(engine.runner, "run", too_large)
    for number, case in enumerate(dense_cases):
        engine.submit(number, case.prompt, Sampling(16))
    with caplog.at_level(logging.CRITICAL):
        yielded = run(engine)
    assert [type(output) for output in yielded.pop(3)] == [Overloaded]
    for number, outputs in yielded.items():
        assert tuple(token.id for token in outputs) == dense_cases[number].expected
    assert engine.blocks.used == 0
