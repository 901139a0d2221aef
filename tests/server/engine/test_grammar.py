"""Answers that must have a form: a small grammar, written here, followed token by token."""

import re

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from omega_server.engine.grammar import bits, masked, unless_only
from omega_server.engine.request import Sampling
from omega_server.engine.sampler import Sampler
from omega_server.engine.sequence import Sequence

FORM = re.compile(r"\[(\d{1,3}(,\d{1,3})*)?\]")


class Numbers:
    """Lists of numbers of three digits at most, such as [1,22,333], as a machine over letters.

    Its states: 0 before the list; 1 after the opening bracket; 2, 3 and 4 after so many digits less one; 5 after a comma;
    6 after the closing bracket, where only an end token may come; 7 after that.
    """

    def __init__(self, words: list[str | None], end: int) -> None:
        """A grammar over a vocabulary, with None for tokens that are no text."""
        self._words = words
        self._end = end
        self.state = 0

    def allowed(self) -> np.ndarray:
        """See Grammar."""
        bits = np.zeros(-(-len(self._words) // 32) * 32, dtype=bool)
        for token, word in enumerate(self._words):
            bits[token] = token == self._end if self.state == 6 else bool(word) and self._after(word) is not None
        return np.packbits(bits, bitorder="little").view(np.int32)

    def accept(self, token: int) -> None:
        """See Grammar."""
        state = 7 if token == self._end else self._after(self._words[token])
        assert state is not None, "a token was chosen that was not allowed"
        self.state = state

    def _after(self, word: str) -> int | None:
        state: int | None = self.state
        for letter in word:
            kind = "digit" if letter in "0123456789" else letter
            state = {
                (0, "["): 1, (1, "]"): 6, (1, "digit"): 2, (2, "digit"): 3, (3, "digit"): 4, (5, "digit"): 2,
                (2, ","): 5, (3, ","): 5, (4, ","): 5, (2, "]"): 6, (3, "]"): 6, (4, "]"): 6,
            }.get((state, kind))  # fmt: skip
            if state is None:
                return None
        return state


LETTERS: list[str | None] = [None, *"[],0123456789ab", "12", ",7", "]]", "5]", "[[", "99,1"]
END = 0


def sequence(number, **sampling):
    """A sequence before its first token."""
    return Sequence(number, [3, 4], 2, Sampling(max_tokens=60, **sampling))


@pytest.mark.parametrize("parameters", [{}, {"temperature": 1.5}, {"temperature": 1.0, "top_k": 3}, {"min_tokens": 9}])
def test_every_answer_has_the_form(parameters):
    """Whatever the logits and the parameters are, the tokens make a list of numbers; neighbours may say anything."""
    generator, ended = torch.Generator().manual_seed(2), 0
    for seed in range(30):
        formed, free = sequence(1, seed=seed, **parameters), sequence(2, seed=seed, **parameters)
        alone = sequence(3, seed=seed, **parameters)
        together, apart = (Sampler(len(LETTERS), [END], torch.device("cpu")) for _ in range(2))
        together.add(formed, Numbers(LETTERS, END))
        together.add(free)
        apart.add(alone)
        while formed.tokens[-1] != END and formed.answer_length < 60:
            logits = torch.randn(2, len(LETTERS), generator=generator) * 3
            before = logits.clone()
            for s, choice in zip((formed, free), together.sample(logits, [formed, free]), strict=True):
                s.tokens.append(choice.id)
                together.commit(s, choice.id)
            assert torch.equal(logits, before)
            alone.tokens.append(apart.sample(logits[1:], [alone])[0].id)
            apart.commit(alone, alone.tokens[-1])
        assert free.tokens == alone.tokens
        if formed.tokens[-1] == END:
            ended += 1
            assert FORM.fullmatch("".join(LETTERS[token] or "" for token in formed.tokens[2:]))
    assert ended > 20


def test_a_form_goes_on_elsewhere():
    """A sequence that comes with a part of its answer is in the middle of its form."""
    moved = Sequence(1, [3, 4, LETTERS.index("["), LETTERS.index("12")], 2, Sampling(max_tokens=9))
    grammar = Numbers(LETTERS, END)
    Sampler(len(LETTERS), [END], torch.device("cpu")).add(moved, grammar)
    assert grammar.state == 3


def test_every_bit_of_a_mask():
    """Bit t % 32 of word t // 32 stands for token t, up to the end of the vocabulary."""
    chosen = [0, 30, 31, 32, 63, 64, 69]
    logits = torch.zeros(3, 70)
    with masked(logits, [(1, bits(chosen))]):
        assert logits[1].isfinite().nonzero()[:, 0].tolist() == chosen
        assert logits[[0, 2]].isfinite().all()
    assert not logits.any()


def test_what_is_unwanted_comes_only_alone():
    """Unwanted tokens are taken out of a mask, but never the last of it, whichever of the two is longer."""
    assert (unless_only(bits([1, 40]), bits([1])) == bits([40])).all()
    assert (unless_only(bits([1, 2]), bits([1, 99])) == bits([2])).all()
    assert (unless_only(bits([1]), bits([1, 99])) == bits([1])).all()


def test_min_tokens_counts_as_far_as_the_form_lets_it():
    """Where the form may end or go on, it goes on before min_tokens; where it can only end, it ends."""

    class Brief:
        def allowed(self):
            return bits([END]) if said.answer_length == 3 else bits([END, 5])

        def accept(self, token):
            pass

    for least, tokens in ((0, [END]), (2, [5, 5, END]), (9, [5, 5, 5, END])):
        said = sequence(1, min_tokens=least, ignore_eos=True)
        sampler = Sampler(len(LETTERS), [END], torch.device("cpu"))
        sampler.add(said, Brief())
        logits = torch.zeros(1, len(LETTERS))
        logits[0, END] = 1.0
        while said.tokens[-1] != END:
            said.tokens.append(sampler.sample(logits, [said])[0].id)
        assert said.tokens[2:] == tokens
        assert sampler.stops(said, END)


def test_a_model_answers_in_the_form(dense, model_path, run):
    """The demo model, which would rather name a colour, answers with a list of numbers; its neighbour does not notice."""
    tokenizer = Tokenizer.from_file(f"{model_path}/tokenizer.json")
    case = dense.case("text", 16, dense.inputs("What colour is the shape on the left?"))
    end = tokenizer.token_to_id("<|im_end|>")
    special = tokenizer.get_added_tokens_decoder()
    size = dense.model.config.text_config.vocab_size
    words = [None if token in special else tokenizer.decode([token]) for token in range(size)]
    engine = dense.engine()
    brief = {token: -100.0 for token, word in enumerate(words) if word and "," in word}
    engine.submit(1, case.prompt, Sampling(max_tokens=24, logit_bias=brief), grammar=Numbers(words, end))
    engine.submit(2, case.prompt, Sampling(max_tokens=16))
    yielded = run(engine)
    assert tuple(token.id for token in yielded[2]) == case.expected
    assert yielded[1][-1].finish_reason == "stop"
    assert FORM.fullmatch(tokenizer.decode([token.id for token in yielded[1]], skip_special_tokens=True))
