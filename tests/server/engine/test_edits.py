"""Edits of logits against transformers' logits processors, row by row, and that they leave no trace."""

import random

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from omega_server.engine.edits import edited, marks_of
from omega_server.engine.request import Sampling
from omega_server.engine.sequence import Sequence

VOCABULARY, END = 512, 7


def sequence(tokens, prompt_length, **sampling):
    """A sequence with so many tokens of prompt, and the rest of answer."""
    return Sequence(0, list(tokens), prompt_length, Sampling(max_tokens=99, **sampling))


def processed(row, s):
    """What transformers' processors make of a row; it has none for presence and frequency penalties."""
    ids, p = torch.tensor([s.tokens]), s.sampling
    steps = LogitsProcessorList()
    if p.repetition_penalty != 1:
        steps.append(RepetitionPenaltyLogitsProcessor(p.repetition_penalty))
    row = steps(ids, row[None].clone())
    said = torch.bincount(torch.tensor(s.tokens[s.prompt_length :], dtype=torch.long), minlength=VOCABULARY)
    row = row - (said > 0) * p.presence_penalty - said * p.frequency_penalty
    steps = LogitsProcessorList()
    if p.logit_bias:
        steps.append(SequenceBiasLogitsProcessor([[[token], bias] for token, bias in p.logit_bias.items()]))
    if p.min_tokens:
        steps.append(MinNewTokensLengthLogitsProcessor(s.prompt_length, p.min_tokens, [END], device="cpu"))
    return steps(ids, row)[0]


def random_sequence(dice):
    """Any parameters, any prompt, an answer that repeats itself."""
    prompt = [dice.randrange(VOCABULARY) for _ in range(dice.randint(1, 200))]
    answer = [dice.randrange(20) for _ in range(dice.randint(0, 60))]
    parameters = {
        "repetition_penalty": dice.choice([1.0, 1.3, 0.8]),
        "presence_penalty": dice.choice([0.0, 0.7, -0.5]),
        "frequency_penalty": dice.choice([0.0, 0.2, -0.1]),
        "logit_bias": {dice.randrange(VOCABULARY): dice.uniform(-100, 100) for _ in range(dice.choice([0, 3, 90]))},
        "min_tokens": dice.choice([0, 5, 70]),
    }
    return sequence(prompt + answer, len(prompt), **parameters)


@pytest.mark.parametrize("seed", range(5))
def test_against_transformers(seed):
    """Forty sequences edited together are what the processors make of each; afterwards the logits are as they were."""
    dice = random.Random(seed)
    sequences = [random_sequence(dice) for _ in range(40)]
    logits = torch.randn(40, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 4
    before = logits.clone()
    marks = [(row, marks_of(s, [END], VOCABULARY), s.answer_length) for row, s in enumerate(sequences)]
    with edited(logits, [item for item in marks if item[1] is not None]):
        expected = torch.stack([processed(row, s) for row, s in zip(before, sequences, strict=True)])
        torch.testing.assert_close(logits, expected, rtol=1e-6, atol=2e-5)
    assert torch.equal(logits, before)


def test_token_by_token_is_the_same_as_all_at_once():
    """A sequence that is followed has the edits of one that comes with its answer so far."""
    parameters = {"repetition_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": 0.25, "logit_bias": {3: 1.0}}
    tokens = [random.Random(1).randrange(VOCABULARY) for _ in range(300)]
    followed = marks_of(sequence(tokens[:10], 10, **parameters), [END], VOCABULARY)
    for token in tokens[10:]:
        followed.note(token)
    joined = marks_of(sequence(tokens, 10, **parameters), [END], VOCABULARY)

    def entries(marks):
        return {
            token: tuple(values) for token, *values in zip(marks.tokens.tolist(), *marks.values.tolist(), strict=True)
        }

    assert entries(followed) == entries(joined)
    assert len(followed.tokens) == len(set(tokens) | {3})


def test_nothing_to_edit():
    """A sequence without penalties, bias and least length has no marks; tokens beyond the vocabulary have none."""
    assert marks_of(sequence([1, 2], 2, temperature=1.0, top_k=5), [END], VOCABULARY) is None
    marks = marks_of(sequence([1], 1, logit_bias={VOCABULARY: 5.0, 2: 1.0}, min_tokens=1), [END, 9999], VOCABULARY)
    assert sorted(marks.tokens.tolist()) == [2, END]


def test_an_error_leaves_the_logits_as_they_were():
    """Whatever happens between, the model's own logits come back."""
    logits = torch.zeros(1, VOCABULARY)
    marks = marks_of(sequence([1], 1, logit_bias={4: 5.0}), [END], VOCABULARY)

    def fail():
        with edited(logits, [(0, marks, 0)]):
            raise KeyError(logits[0, 4].item())

    with pytest.raises(KeyError, match=r"5\.0"):
        fail()
    assert not logits.any()
