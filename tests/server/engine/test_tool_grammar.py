"""Calls of tools, made by the demo model, which has never learned what a tool is."""

import json

import jsonschema
import pytest
from tokenizers import Tokenizer

from omega_server.engine.matcher import Grammars
from omega_server.engine.request import Sampling
from omega_server.forms.calls import CallBegins, CallGoesOn, Calls
from omega_server.forms.grammar import Form, Schema, Tool

SCHEMAS = {
    "paint": {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "coats": {"type": "integer", "minimum": 1, "maximum": 3}},
        "required": ["colour", "coats"],
        "additionalProperties": False,
    },
    "stop": {"type": "object", "properties": {}, "additionalProperties": False},
}
TOOLS = [Tool(name, Schema(schema, strict=True)) for name, schema in SCHEMAS.items()]


@pytest.mark.parametrize("parallel", [True, False])
def test_required_calls_are_calls(dense, model_path, run, parallel):
    """Answers are one call or several of known tools, with arguments that validate; unless several are allowed, one."""
    tokenizer = Tokenizer.from_file(f"{model_path}/tokenizer.json")
    engine = dense.engine()
    grammars = Grammars(tokenizer, engine.end_tokens, engine.vocabulary)
    grammar = Form(tools=TOOLS, calls="required", parallel=parallel).grammar()
    prompt = dense.case("text", 1, dense.inputs("hello")).prompt
    for number in range(8):
        sampling = Sampling(max_tokens=160, temperature=1.5 if number else 0.0, seed=number, grammar=grammar)
        engine.submit(number, prompt, sampling, grammar=grammars.begin(grammar))
    counts = []
    for tokens in run(engine).values():
        if tokens[-1].finish_reason == "length":
            assert parallel
            continue
        calls = Calls()
        pieces = calls.push(tokenizer.decode([token.id for token in tokens]), last=True)
        names = [piece.name for piece in pieces if isinstance(piece, CallBegins)]
        arguments = [piece.arguments for piece in pieces if isinstance(piece, CallGoesOn)]
        assert calls.complete == len(names)
        counts.append(len(names))
        for name, text in zip(names, arguments, strict=True):
            jsonschema.validate(json.loads(text), SCHEMAS[name])
    assert counts
    assert parallel or set(counts) == {1}


def test_after_the_mark_of_a_call_only_a_call_may_come(model_path):
    """Text may be anything, until it has said that a call begins; the mark may be one token, or be spelt."""
    tokenizer = Tokenizer.from_file(f"{model_path}/tokenizer.json")
    grammars = Grammars(tokenizer, [tokenizer.token_to_id("<|im_end|>")], tokenizer.get_vocab_size())
    grammar = Form(tools=TOOLS).grammar()
    mark = [tokenizer.token_to_id("<tool_call>")]
    letters = [tokenizer.encode(letter).ids[0] for letter in "<tool_call>"]
    for begin in (mark, letters):
        matcher = grammars.begin(grammar)
        for token in [*tokenizer.encode("Well: ").ids, *begin]:
            assert _may(matcher, token)
            matcher.accept(token)
        assert _may(matcher, tokenizer.encode("\n").ids[0])
        assert not _may(matcher, tokenizer.encode("a").ids[0])
        assert not _may(matcher, tokenizer.token_to_id("<|im_end|>"))


def _may(matcher, token):
    return bool(matcher.allowed()[token // 32] >> (token % 32) & 1)
