"""One engine in this process: what it gives back, and whom a failure hits."""

import logging
from dataclasses import replace

import pytest

from omega_server.engine.engine import EngineLimits
from omega_server.engine.request import ContextLengthExceeded, EngineFailed, InvalidPrompt, Prompt, Sampling


def ids(outputs):
    """Token ids of what a request got."""
    return tuple(token.id for token in outputs)


def test_an_abort_frees_everything_at_once(dense, dense_cases, run):
    """Waiting, half prefilled or answering: after an abort nothing of the request is left, and others are untouched."""
    picture = next(case for case in dense_cases if case.name == "picture 1")
    long = Sampling(200, ignore_eos=True)
    alone = dense.engine()
    alone.submit(0, picture.prompt, long)
    expected = ids(run(alone)[0])
    engine = dense.engine(max_batch_size=3, token_budget=8)
    engine.submit(0, picture.prompt, long)
    engine.submit(1, Prompt(tuple(range(10, 20))), long)
    got = []
    while not (len(engine.scheduler.running) == 2 and all(s.decoding for s in engine.scheduler.running)):
        got += [token for number, token in engine.step() if number == 0]
    wide = Prompt(tuple(range(100, 160)))
    for number in (2, 3, 4):
        engine.submit(number, wide, Sampling(16))
    while not (len(engine.scheduler.running) == 3 and engine.scheduler.running[-1].computed):
        got += [token for number, token in engine.step() if number == 0]
    assert engine.scheduler.running[-1].computed < len(wide.token_ids)
    assert [s.id for s in engine.scheduler.waiting] == [3, 4]
    for number in (1, 2, 3, 4, 12345):
        engine.abort(number)
    assert [s.id for s in engine.scheduler.running] == [0]
    assert engine.blocks.used == len(engine.scheduler.running[0].blocks)
    assert ids([*got, *run(engine)[0]]) == expected
    assert engine.blocks.used == 0


def test_seeded_answers_are_the_same_alone_and_in_a_batch(dense, dense_cases, run):
    """The same seed gives the same answer alone, among other requests, and after a preemption."""
    sampling = [
        Sampling(
            12, temperature=1.5, top_k=(0, 20)[seed % 2], top_p=(1.0, 0.9)[seed % 3 > 0], seed=seed, ignore_eos=True
        )
        for seed in range(len(dense_cases))
    ]
    alone = []
    for case, parameters in zip(dense_cases, sampling, strict=True):
        engine = dense.engine()
        engine.submit(0, case.prompt, parameters)
        alone.append(ids(run(engine)[0]))
    longest = max(len(case.prompt.token_ids) for case in dense_cases) + 12
    engine = dense.engine(blocks=-(-longest // 16) + 6, max_length=longest, token_budget=48)
    for number, (case, parameters) in enumerate(zip(dense_cases, sampling, strict=True)):
        engine.submit(number, case.prompt, parameters)
    together = run(engine)
    assert [ids(together[number]) for number in range(len(alone))] == alone
    assert engine.scheduler.preemptions > 0


def test_a_request_that_fails_fails_alone(dense, dense_cases, run, monkeypatch, caplog):
    """A fault in one sequence's forward pass ends that request; all others of its steps equal generate()."""
    engine = dense.engine()
    compute = engine.runner.run

    def faulty(step):
        if any(chunk.sequence.id == 2 and chunk.end > chunk.sequence.prompt_length for chunk in step.chunks):
            raise RuntimeError("a fault")
        return compute(step)

    monkeypatch.setattr(engine.runner, "run", faulty)
    for number, case in enumerate(dense_cases):
        engine.submit(number, case.prompt, Sampling(16))
    with caplog.at_level(logging.CRITICAL):
        yielded = run(engine)
    first, failure = yielded.pop(2)
    assert first.id == dense_cases[2].expected[0]
    assert isinstance(failure, EngineFailed)
    assert "fault" not in str(failure)
    for number, outputs in yielded.items():
        assert ids(outputs) == dense_cases[number].expected
    assert engine.blocks.used == 0


def test_a_picture_that_fails_fails_its_request_alone(dense, dense_cases, run, caplog):
    """Pixels of a wrong shape end their own request; a picture in the same tower call is fine."""
    engine = dense.engine()
    good = next(case for case in dense_cases if case.name == "picture 1")
    medium = good.prompt.media[0]
    bad = Prompt(good.prompt.token_ids, (replace(medium, pixels=medium.pixels[:-1], key=b"bad"),))
    engine.submit(1, bad, Sampling(4))
    engine.submit(2, good.prompt, Sampling(16))
    with caplog.at_level(logging.CRITICAL):
        yielded = run(engine)
    assert isinstance(yielded[1][0], EngineFailed)
    assert ids(yielded[2]) == good.expected
    assert engine.blocks.used == 0


def test_numbers_that_are_none_do_not_reach_the_next_owner_of_a_block(dense, dense_cases, run, caplog):
    """A picture of not-a-numbers ends its request, and the blocks that it filled serve others as new."""
    good = next(case for case in dense_cases if case.name == "picture 1")
    longest = len(good.prompt.token_ids) + 16
    engine = dense.engine(blocks=-(-longest // 16), max_length=longest)
    medium = good.prompt.media[0]
    broken = replace(medium, pixels=medium.pixels * float("nan"), key=b"nan")
    engine.submit(1, Prompt(good.prompt.token_ids, (broken,)), Sampling(4))
    with caplog.at_level(logging.CRITICAL):
        assert isinstance(run(engine)[1][0], EngineFailed)
    engine.submit(2, good.prompt, Sampling(16))
    assert ids(run(engine)[2]) == good.expected


def test_what_can_never_run_is_refused_at_once(dense):
    """Too long, or with placeholders that have no picture: refused when it comes, and nothing is kept."""
    engine = dense.engine(blocks=4)
    with pytest.raises(ContextLengthExceeded, match="65 tokens"):
        engine.submit(1, Prompt(tuple(range(100, 170))), Sampling(1))
    with pytest.raises(InvalidPrompt):
        engine.submit(2, Prompt((1, dense.model.config.image_token_id, 2)), Sampling(1))
    assert not engine.busy


def test_an_answer_fills_the_context_to_the_last_token(dense, run):
    """An answer ends with "length" exactly where prompt and answer are as long as the cache can hold."""
    engine = dense.engine(blocks=2)
    engine.submit(1, Prompt(tuple(range(10, 30))), Sampling(50, ignore_eos=True))
    outputs = run(engine)[1]
    assert len(outputs) == 33 - 20
    assert outputs[-1].finish_reason == "length"


def test_stop_tokens_and_logprobs(dense, dense_cases, run):
    """A stop token ends the answer with "stop" and is delivered; logprobs come with each token that asks for them."""
    case = dense_cases[0]
    engine = dense.engine()
    engine.submit(1, case.prompt, Sampling(16, stop_token_ids=(case.expected[2],), logprobs=3))
    outputs = run(engine)[1]
    end = case.expected.index(case.expected[2])
    assert ids(outputs) == case.expected[: end + 1]
    assert [token.finish_reason for token in outputs] == [None] * end + ["stop"]
    for token in outputs:
        assert token.top_logprobs[0] == (token.id, pytest.approx(token.logprob))
        assert len(token.top_logprobs) == 3


def test_pictures_of_several_requests_share_one_tower_call(dense, run):
    """Different pictures that come together go through the tower together, and equal ones once."""
    engine = dense.engine()
    for number, seed in enumerate((20, 21, 20, 22)):
        prompt = dense.case("", 1, dense.inputs("What is it?", [(seed, 96, 64)])).prompt
        engine.submit(number, prompt, Sampling(2))
    run(engine)
    assert engine.vision.runs == 1
    assert engine.vision.nbytes > 0


def test_limits_fit_the_model_and_the_machine(dense):
    """The context is no longer than the model's, and the cache holds a full batch of it if the memory allows."""
    limits = EngineLimits.of(dense.model, max_length=100_000, max_batch_size=2, batch_timeout=0.0)
    longest = dense.model.config.text_config.max_position_embeddings
    assert limits.scheduling.max_length == longest
    assert limits.blocks == 2 * longest // 16
