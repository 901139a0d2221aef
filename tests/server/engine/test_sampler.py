"""The sampler against transformers' logits processors, row by row, and against itself in other company."""

import math

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from omega_server.engine.request import Sampling
from omega_server.engine.sampler import Sampler
from omega_server.engine.sequence import Sequence

VOCABULARY, END = 2048, 5


def sampler(*sequences):
    """A sampler that knows some sequences."""
    made = Sampler(VOCABULARY, [END], torch.device("cpu"))
    for s in sequences:
        made.add(s)
    return made


def sequence(number=0, prompt=(1, 2, 3), **sampling):
    """A sequence before its first token."""
    return Sequence(number, list(prompt), len(prompt), Sampling(**{"max_tokens": 9, **sampling}))


def logits(rows=1, seed=0):
    """Random logits, like a model's."""
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 4


def grow(subject, s, *tokens):
    """Append tokens to an answer."""
    for token in tokens:
        s.tokens.append(token)
        subject.commit(s, token)


FILTERS = [
    {"temperature": 0.7},
    {"temperature": 1.3, "top_k": 5},
    {"temperature": 0.9, "top_k": 50, "top_p": 0.8},
    {"temperature": 1.0, "top_p": 0.5},
    {"temperature": 1.0, "top_k": 1500, "top_p": 0.9},
    {"temperature": 2.0, "min_p": 0.1},
    {"temperature": 1.0, "top_k": 20, "top_p": 0.95, "min_p": 0.05},
    {"temperature": 0.8, "top_k": -1, "repetition_penalty": 1.4},
]


@pytest.mark.parametrize("parameters", [FILTERS[0], FILTERS[2], FILTERS[7]], ids=str)
def test_draws_follow_the_distribution_of_transformers(parameters):
    """4000 draws by seed at one position fall where transformers' processors say, no token more often than chance allows."""
    steps = LogitsProcessorList()
    if "repetition_penalty" in parameters:
        steps.append(RepetitionPenaltyLogitsProcessor(parameters["repetition_penalty"]))
    steps.append(TemperatureLogitsWarper(parameters["temperature"]))
    if parameters.get("top_k", 0) > 0:
        steps.append(TopKLogitsWarper(parameters["top_k"]))
    if "top_p" in parameters:
        steps.append(TopPLogitsWarper(parameters["top_p"]))
    if "min_p" in parameters:
        steps.append(MinPLogitsWarper(parameters["min_p"]))
    row = logits(seed=len(parameters))
    prompt = row[0].topk(3).indices.tolist()
    expected = steps(torch.tensor([prompt]), row.clone())[0].softmax(-1)
    draws = 4000
    sequences = [sequence(i, prompt, seed=i, **parameters) for i in range(draws)]
    drawn = sampler(*sequences).sample(row.expand(draws, -1), sequences)
    counts = torch.bincount(torch.tensor([s.id for s in drawn]), minlength=VOCABULARY)
    assert counts[expected == 0].sum() == 0
    spread = (expected * (1 - expected) * draws).sqrt()
    assert ((counts - expected * draws).abs() <= 6 * spread + 3).all()


def test_greedy_is_the_largest_logit():
    """Without temperature the token is the argmax, whatever filters say."""
    row = logits(3)
    sequences = [sequence(i, top_k=40, top_p=0.1) for i in range(3)]
    assert [s.id for s in sampler(*sequences).sample(row, sequences)] == row.argmax(-1).tolist()


def test_a_seed_gives_the_same_in_any_batch():
    """Alone, or between neighbours with other parameters: the same seed gives the same answer; another seed another."""
    parameters = [{**FILTERS[i % len(FILTERS)], "seed": 11} for i in range(12)]
    steps = [logits(12, seed) for seed in range(20)]
    together = [sequence(i, **p) for i, p in enumerate(parameters)]
    company = sampler(*together)
    for row in steps:
        for s, choice in zip(together, company.sample(row, together), strict=True):
            grow(company, s, choice.id)
    for i, p in enumerate(parameters):
        alone = sequence(**p)
        solitude = sampler(alone)
        for row in steps:
            grow(solitude, alone, solitude.sample(row[i : i + 1], [alone])[0].id)
        assert alone.tokens == together[i].tokens
    other = sequence(99, temperature=2.0, seed=12)
    same = sequence(98, temperature=2.0, seed=11)
    pair = sampler(other, same)
    for row in steps:
        for s, choice in zip((other, same), pair.sample(row[:1].expand(2, -1), [other, same]), strict=True):
            grow(pair, s, choice.id)
    assert other.tokens != same.tokens


def test_penalties_count_what_was_said():
    """Repetition looks at prompt and answer, presence and frequency at the answer only."""
    row = torch.zeros(1, VOCABULARY)
    row[0, :4] = torch.tensor([-1.0, 4.0, 3.9, 3.0])
    cases = [
        ({"repetition_penalty": 2.0}, (1, 2), (), 3),
        ({"presence_penalty": 0.5}, (1,), (), 1),
        ({"presence_penalty": 0.5}, (9,), (1,), 2),
        ({"frequency_penalty": 0.35}, (9,), (1, 1, 1, 1, 2, 2, 2), 3),
        ({"frequency_penalty": -0.2}, (9,), (3, 3, 3, 3, 3, 3), 3),
    ]
    sequences = [sequence(i, prompt, **parameters) for i, (parameters, prompt, _, _) in enumerate(cases)]
    subject = sampler(*sequences)
    for s, (_, _, answer, _) in zip(sequences, cases, strict=True):
        grow(subject, s, *answer)
    chosen = subject.sample(row.expand(len(cases), -1), sequences)
    assert [s.id for s in chosen] == [token for *_, token in cases]


def test_bias_and_min_tokens():
    """A bias moves a token; an end or stop token cannot come before min_tokens, and ends the answer when it comes."""
    row = torch.zeros(1, VOCABULARY)
    row[0, END], row[0, 8], row[0, 9] = 9.0, 8.0, 7.0
    biased = sequence(1, logit_bias={9: 5.0, VOCABULARY + 7: 1.0})
    patient = sequence(2, min_tokens=1, stop_token_ids=(8,))
    endless = sequence(3, ignore_eos=True)
    subject = sampler(biased, patient, endless)
    assert [s.id for s in subject.sample(row.expand(2, -1), [biased, patient])] == [9, 9]
    grow(subject, patient, 9)
    assert subject.sample(row, [patient])[0].id == END
    assert subject.stops(patient, END)
    assert subject.stops(patient, 8)
    assert not subject.stops(patient, 9)
    assert not subject.stops(endless, END)


def test_an_answer_goes_on_elsewhere():
    """A sequence that comes with a part of its answer continues as it would have where it began."""
    parameters = {"temperature": 1.0, "seed": 3, "repetition_penalty": 1.3, "frequency_penalty": 0.4, "max_tokens": 40}
    steps = [logits(seed=seed) for seed in range(30)]
    whole = sequence(**parameters)
    first = sampler(whole)
    for number, row in enumerate(steps):
        if number == 11:
            moved = Sequence(1, list(whole.tokens), whole.prompt_length, whole.sampling)
            second = sampler(moved)
        grow(first, whole, first.sample(row, [whole])[0].id)
        if number >= 11:
            grow(second, moved, second.sample(row, [moved])[0].id)
    assert moved.tokens == whole.tokens


def test_an_id_comes_again():
    """A sequence that was removed leaves nothing to a later one with its id."""
    row = torch.zeros(1, VOCABULARY)
    row[0, 4], row[0, 6] = 2.0, 1.0
    old, new = sequence(1, logit_bias={4: -50.0}), sequence(1)
    subject = sampler(old)
    assert subject.sample(row, [old])[0].id == 6
    subject.remove(1)
    subject.add(new)
    assert subject.sample(row, [new])[0].id == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_stay_as_they_are(dtype):
    """Sampling may be repeated: it changes neither the logits nor itself, whatever is edited; small penalties count."""
    row = logits(3).to(dtype)
    row[2, 5:7] = 60.0
    sequences = [
        sequence(1, temperature=1.0, seed=4, repetition_penalty=1.2, logprobs=1),
        sequence(2, logit_bias={9: 100.0}, min_tokens=3),
        sequence(3, (5, 1, 2), logit_bias={5: -0.01}),
    ]
    subject, before = sampler(*sequences), row.clone()
    first = subject.sample(row, sequences)
    assert torch.equal(row, before)
    assert subject.sample(row, sequences) == first
    assert [s.id for s in first[1:]] == [9, 6]


def test_logprobs_are_those_of_the_model():
    """Before temperature and penalties, natural logarithms, the likeliest first, as many as asked for."""
    row = logits(3)
    sequences = [
        sequence(1, logprobs=2, temperature=3.0, seed=1),
        sequence(2),
        sequence(3, logprobs=0, logit_bias={7: 100.0}),
    ]
    two, none, zero = sampler(*sequences).sample(row, sequences)
    expected = row.log_softmax(-1)
    assert math.isclose(two.logprob, expected[0, two.id], abs_tol=1e-5)
    assert [token for token, _ in two.top_logprobs] == expected[0].topk(2).indices.tolist()
    assert (none.logprob, none.top_logprobs) == (None, ())
    assert (zero.id, zero.top_logprobs) == (7, ())
    assert math.isclose(zero.logprob, expected[2, 7], abs_tol=1e-5)


def test_numbers_that_are_none_spoil_only_their_row():
    """A row with not-a-number gets no token; its neighbours get theirs."""
    row = logits(4)
    row[1, 3] = float("nan")
    row[3] = float("nan")
    sequences = [sequence(i, temperature=float(i > 1), seed=i, top_k=9) for i in range(4)]
    drawn = sampler(*sequences).sample(row, sequences)
    assert [s is None for s in drawn] == [False, True, False, True]
    assert sampler(sequences[2]).sample(row[2:3], [sequences[2]])[0] == drawn[2]
