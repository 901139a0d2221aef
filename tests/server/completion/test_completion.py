"""Tokens become text: nothing half, nothing lost, nothing after a stop string, and no sequence left behind."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from omega_server.completion import AnswerText, Completion, Detokenizer, StopStrings
from omega_server.engine.letters import token_bytes
from omega_server.engine.request import EngineFailed, Prompt, QueueFull, Sampling, Token
from omega_server.metrics import Metrics

MODEL = Path(__file__).parents[3] / "demo" / "model"
END = "<|im_end|>"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The demo model's: byte-level, so that most characters beyond ASCII have several tokens."""
    return Tokenizer.from_file(str(MODEL / "tokenizer.json"))


def answer(tokenizer: Tokenizer, text: str, reason: str = "stop") -> list[Token]:
    """The tokens of a text, as an engine gives them."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    if reason == "stop":
        ids = [*ids, tokenizer.token_to_id(END)]
    return [Token(token, reason if at == len(ids) - 1 else None) for at, token in enumerate(ids)]  # type: ignore[arg-type]


def told(
    tokenizer: Tokenizer, tokens: Sequence[Token], stops: Sequence[str] = (), min_tokens: int = 0
) -> tuple[str, str]:
    """Everything that is given out until the finish, and the finish."""
    text = AnswerText(tokenizer, stops, min_tokens)
    out = ""
    for token in tokens:
        words, finish = text.push(token)
        out += words
        if finish:
            return out, finish
    raise AssertionError("no finish")


@pytest.mark.parametrize(
    "text", ["hello", "日本語とemoji 👩‍👩‍👧‍👦 é", " leading", "a  b\n\n", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "", "e\u0301"]
)
def test_text_is_complete(tokenizer: Tokenizer, text: str) -> None:
    """Whatever the tokens are, the pieces make the text, and no piece has half a character."""
    tokens = answer(tokenizer, text)
    words = Detokenizer(tokenizer)
    pieces = [words.push(token.id) for token in tokens] + [words.flush()]
    assert "".join(pieces) == tokenizer.decode([token.id for token in tokens])
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(pieces)


def test_cut_character(tokenizer: Tokenizer) -> None:
    """An answer that is cut off inside a character ends before it."""
    tokens = answer(tokenizer, "ab日", "length")
    cut = [*tokens[:-2], Token(tokens[-2].id, "length")]
    assert told(tokenizer, cut) == ("ab", "length")


def test_any_tokens(tokenizer: Tokenizer) -> None:
    """Tokens in any order, which a model may well produce, never break the decoder."""
    chance = random.Random(3)
    for _ in range(200):
        ids = [chance.randrange(tokenizer.get_vocab_size()) for _ in range(30)]
        tokens = [Token(token, "length" if at == 29 else None) for at, token in enumerate(ids)]
        text, finish = told(tokenizer, tokens)
        assert finish == "length"
        whole = tokenizer.decode(ids, skip_special_tokens=True)
        assert text.rstrip("\N{REPLACEMENT CHARACTER}") == whole.rstrip("\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize(
    ("stops", "expected"),
    [
        (["circle"], ("a red ", "stop")),
        (["red c"], ("a ", "stop")),
        (["zzz", "d ci"], ("a re", "stop")),
        (["circle", "red"], ("a ", "stop")),
        (["circlet"], ("a red circle", "stop")),
        (["a"], ("", "stop")),
        ([], ("a red circle", "stop")),
    ],
)
def test_stop_strings(tokenizer: Tokenizer, stops: list[str], expected: tuple[str, str]) -> None:
    """The text ends before the first stop string, wherever its tokens begin and end."""
    assert told(tokenizer, answer(tokenizer, "a red circle"), stops) == expected


def test_stop_strings_against_find() -> None:
    """Random texts in random pieces are cut exactly where a search over the whole text would cut."""
    chance = random.Random(1)
    for _ in range(3000):
        text = "".join(chance.choice("ab") for _ in range(chance.randrange(12)))
        stops = ["".join(chance.choice("ab") for _ in range(chance.randint(1, 4))) for _ in range(chance.randint(1, 3))]
        found = [at for at in map(text.find, stops) if at >= 0]
        holder, out, stopped, rest = StopStrings(stops), "", False, text
        while rest and not stopped:
            size = chance.randint(1, 3)
            piece, rest = rest[:size], rest[size:]
            given, stopped = holder.push(piece)
            out += given
        out += "" if stopped else holder.flush()
        assert stopped == bool(found), (text, stops)
        # A longer stop string may begin earlier than the one that is complete first; it is not complete, so it does not count.
        expected = text[: min(found)] if found else text
        assert out == expected or (
            stopped and text.startswith(out) and any(text[len(out) :].startswith(s) for s in stops)
        )


def test_nothing_is_shown_too_early(tokenizer: Tokenizer) -> None:
    """While the text may still become a stop string, it is held back."""
    text = AnswerText(tokenizer, ["red circle"], 0)
    seen = ""
    for token in answer(tokenizer, "a red circle")[:-1]:
        words, finish = text.push(token)
        seen += words
        assert "red" not in seen
        if finish:
            break
    assert seen == "a "


def test_min_tokens(tokenizer: Tokenizer) -> None:
    """Before min_tokens no stop string counts."""
    tokens = answer(tokenizer, "red red red")
    first = told(tokenizer, tokens, ["red"])
    later = told(tokenizer, tokens, ["red"], min_tokens=len(answer(tokenizer, "red", "length")))
    assert first == ("", "stop")
    assert later[0].startswith("red")
    assert later != first


def test_token_bytes(tokenizer: Tokenizer) -> None:
    """The bytes of the tokens of a text are the bytes of the text."""
    text = "naïve 日本 👍 \n\t~"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert b"".join(token_bytes(tokenizer, token) for token in ids) == text.encode()
    assert token_bytes(tokenizer, tokenizer.token_to_id(END)) == END.encode()


class Script:
    """An engine that says what it is told to, and notes which sequences were ended."""

    def __init__(self, *answers: Sequence[Token | Exception]) -> None:
        self._answers = list(answers)
        self.open = 0

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Token, None]:
        """The next answer."""
        self.open += 1
        try:
            for token in self._answers.pop(0):
                if isinstance(token, Exception):
                    raise token
                yield token
        finally:
            self.open -= 1


def completion(engine: Script, tokenizer: Tokenizer, choices: int, stops: Sequence[str] = ()) -> Completion:
    """A request for some choices."""
    sampling = Sampling(max_tokens=9)
    prompt = Prompt((1, 2, 3))
    return Completion(
        engine, tokenizer, Metrics(lambda: ()), prompt=prompt, samplings=[sampling] * choices, stops=stops
    )


async def test_choices(tokenizer: Tokenizer) -> None:
    """Choices run side by side; each has its text and its finish; tokens are counted together."""
    answers = [answer(tokenizer, "red"), answer(tokenizer, "a blue square", "length")]
    engine = Script(*answers)
    request = completion(engine, tokenizer, 2)
    texts, finishes = ["", ""], ["", ""]
    async for delta in request.deltas():
        texts[delta.choice] += delta.text
        finishes[delta.choice] = delta.finish_reason or ""
    assert sorted(texts) == ["a blue square", "red"]
    assert sorted(finishes) == ["length", "stop"]
    assert request.completion_tokens == sum(map(len, answers))
    assert (request.prompt_tokens, engine.open) == (3, 0)


async def test_the_first_choice_goes_ahead(tokenizer: Tokenizer) -> None:
    """Only when its first token is there do the others begin, and what they find cached is not the request's."""
    first, second = answer(tokenizer, "a red circle"), answer(tokenizer, "blue")
    gate = asyncio.Event()

    class Slow(Script):
        async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Token, None]:
            generator = super().generate(prompt, sampling)
            if self.open == 0:
                self.open += 1
                await gate.wait()
                self.open -= 1
            async for token in generator:
                yield token

    engine = Slow([replace(first[0], cached_tokens=1), *first[1:]], [replace(second[0], cached_tokens=3), *second[1:]])
    request = completion(engine, tokenizer, 2)
    deltas = request.deltas()
    waiting = asyncio.ensure_future(anext(deltas))
    for _ in range(20):
        await asyncio.sleep(0)
    assert (engine.open, len(engine._answers)) == (1, 2)
    gate.set()
    gained = [await waiting, *[delta async for delta in deltas]]
    texts = ["".join(delta.text for delta in gained if delta.choice == index) for index in range(2)]
    assert texts == ["a red circle", "blue"]
    assert request.cached_tokens == 1


async def test_a_refused_choice_is_told_first(tokenizer: Tokenizer) -> None:
    """If there is no room for the second choice, nothing of the first has been given out."""
    engine = Script(answer(tokenizer, "a red circle"), [QueueFull("full")])
    deltas = completion(engine, tokenizer, 2).deltas()
    with pytest.raises(QueueFull):
        await anext(deltas)
    assert engine.open == 0


def test_a_stop_token_is_not_shown(tokenizer: Tokenizer) -> None:
    """A word that ends the answer because the request says so is no part of it."""
    tokens = answer(tokenizer, "a red circle", "length")
    ended = [*tokens[:-1], Token(tokens[-1].id, "stop")]
    whole, _ = told(tokenizer, tokens)
    shown, finish = told(tokenizer, ended)
    assert finish == "stop"
    assert whole.startswith(shown)
    assert len(shown) < len(whole)


async def test_stop_ends_the_sequence(tokenizer: Tokenizer) -> None:
    """A stop string ends the work too."""
    engine = Script(answer(tokenizer, "a red circle and much more"))
    request = completion(engine, tokenizer, 1, ["red"])
    text = "".join([delta.text async for delta in request.deltas()])
    assert (text, engine.open) == ("a ", 0)
    assert request.completion_tokens < len(answer(tokenizer, "a red circle and much more"))


async def test_losing_interest(tokenizer: Tokenizer) -> None:
    """Whoever stops listening ends all choices."""
    engine = Script(*(answer(tokenizer, "a red circle") for _ in range(3)))
    deltas = completion(engine, tokenizer, 3).deltas()
    await anext(deltas)
    assert engine.open > 0
    await deltas.aclose()
    assert engine.open == 0


async def test_failure(tokenizer: Tokenizer) -> None:
    """If one choice fails, all end, and the failure is told."""
    failing: list[Token | Exception] = [*answer(tokenizer, "a red")[:2], EngineFailed("engine 0 died")]
    engine = Script(failing, answer(tokenizer, "a much longer answer than that"))
    with pytest.raises(EngineFailed):
        async for _ in completion(engine, tokenizer, 2).deltas():
            pass
    assert engine.open == 0
