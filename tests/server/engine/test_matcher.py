"""Answers of the demo model in forms that are JSON schemas, followed with llguidance."""

import json

import jsonschema
import pytest
from llguidance import LLMatcher
from tokenizers import Tokenizer

from omega_server.engine.letters import token_bytes
from omega_server.engine.matcher import Grammars
from omega_server.engine.request import EngineFailed, InvalidGrammar, Sampling

SCHEMAS = {
    "colours": {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "green", "blue"]},
            "count": {"type": "integer", "minimum": 0, "maximum": 20},
            "sure": {"type": "boolean"},
        },
        "required": ["colour", "count", "sure"],
        "additionalProperties": False,
    },
    "list": {
        "type": "array",
        "items": {"type": "number", "multipleOf": 0.5, "minimum": -9, "maximum": 9},
        "maxItems": 3,
    },
    "strings": {
        "type": "object",
        "properties": {
            "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,3}$"},
            "day": {"type": "string", "format": "date"},
            "said": {"type": "string", "maxLength": 12},
        },
        "required": ["code", "day"],
        "additionalProperties": False,
    },
    "tree": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"enum": ["a", "ü", "\\"]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
                },
                "required": ["name"],
                "additionalProperties": False,
            }
        },
    },
    "either": {"anyOf": [{"type": "null"}, {"const": {"a": [1, "é"]}}, {"type": "string", "maxLength": 3}]},
}


def form(schema):
    """A grammar of answers that are such JSON."""
    options = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options)


@pytest.fixture(scope="module")
def tokenizer(model_path):
    """Of the demo model."""
    return Tokenizer.from_file(f"{model_path}/tokenizer.json")


@pytest.fixture(scope="module")
def grammars(dense):
    """Over the demo model's tokens."""
    engine = dense.engine()
    return Grammars.load(str(dense.path), engine.end_tokens, engine.vocabulary)


def test_a_token_is_the_bytes_that_it_adds_to_a_text(tokenizer):
    """The bytes of a text's tokens, one after the other, are the text's; a token beyond the vocabulary has none."""
    for text in ("Ein Würfel: 🎲\n\t", "<|im_start|>", "<tool_call>\n{}"):
        ids = tokenizer.encode(text).ids
        assert b"".join(token_bytes(tokenizer, token) for token in ids).decode() == text
    assert token_bytes(tokenizer, 10**6) == b""


@pytest.mark.parametrize("name", SCHEMAS)
def test_answers_fit_their_schema_and_neighbours_do_not_notice(dense, tokenizer, grammars, run, name):
    """Greedy or drawn, what ends by itself is JSON that validates, what is cut off its beginning; others stay the same."""
    schema = SCHEMAS[name]
    case = dense.case("text", 12, dense.inputs("What colour is the shape on the left?"))
    engine = dense.engine()
    engine.submit(0, case.prompt, Sampling(max_tokens=12))
    ways = [{}, {"repetition_penalty": 1.3}, *({"temperature": 1.4, "seed": seed, "top_p": 0.98} for seed in range(10))]
    for number, way in enumerate(ways, 1):
        sampling = Sampling(max_tokens=60, grammar=form(schema), **way)
        engine.submit(number, case.prompt, sampling, grammar=grammars.begin(sampling.grammar))
    yielded = run(engine)
    assert tuple(token.id for token in yielded[0]) == case.expected
    complete = 0
    for number in range(1, len(ways) + 1):
        tokens = yielded[number]
        ids = [token.id for token in tokens]
        if tokens[-1].finish_reason == "stop":
            jsonschema.validate(json.loads(tokenizer.decode(ids)), schema)
            complete += 1
        else:
            assert len(ids) == 60
            grammar = grammars.begin(form(schema))
            for token in ids:
                assert grammar.allowed()[token // 32] >> (token % 32) & 1
                grammar.accept(token)
    assert complete >= len(ways) / 3


def test_an_answer_goes_on_elsewhere(dense, grammars, run):
    """An engine that is given the beginning of an answer gives the rest of it; so does one that computes it again."""
    prompt = dense.case("text", 1, dense.inputs("How many shapes are there?")).prompt
    sampling = Sampling(max_tokens=40, temperature=1.2, seed=5, grammar=form(SCHEMAS["strings"]))
    first = dense.engine()
    first.submit(1, prompt, sampling, grammar=grammars.begin(sampling.grammar))
    whole = [token.id for token in run(first)[1]]
    assert len(whole) > 12
    second = dense.engine()
    second.submit(7, prompt, sampling, whole[:9], grammars.begin(sampling.grammar))
    assert [token.id for token in run(second)[7]] == whole[9:]
    crowded = dense.engine(blocks=len(prompt.token_ids) // 16 + 5)
    for number in (1, 2):
        crowded.submit(number, prompt, sampling, grammar=grammars.begin(sampling.grammar))
    for tokens in run(crowded).values():
        assert [token.id for token in tokens] == whole
    assert crowded.scheduler.preemptions > 0


@pytest.mark.parametrize(
    "grammar",
    ["nonsense", form({"type": "string", "pattern": "(?=a)b"}), form({"type": "string", "not": {"const": "a"}})],
    ids=["no grammar", "look-ahead", "not"],
)
def test_what_cannot_be_followed_is_refused_at_once(grammars, grammar):
    """What is no grammar, or costs too much, is found before the first token."""
    with pytest.raises(InvalidGrammar, match=r"\w"):
        grammars.begin(grammar)


def test_a_form_that_becomes_too_costly_fails_alone(dense, grammars, run):
    """An answer whose next token takes too much work to find fails; its neighbour does not notice."""
    costly = form({"type": "string", "pattern": "^(?:[a-z]{1,100}){1,100}$"})
    case = dense.case("text", 12, dense.inputs("hello"))
    engine = dense.engine()
    engine.submit(1, case.prompt, Sampling(max_tokens=12))
    sampling = Sampling(max_tokens=200, temperature=2.0, seed=1, grammar=costly)
    engine.submit(2, case.prompt, sampling, grammar=grammars.begin(costly))
    outputs = []
    while engine.busy:
        outputs += engine.step()
    assert tuple(item.id for number, item in outputs if number == 1) == case.expected
    assert isinstance([item for number, item in outputs if number == 2][-1], EngineFailed)
