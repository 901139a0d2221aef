"""Schemas that are taken, and those that would cost too much, refused before anything is made of them."""

import time

import pytest

from omega_server.engine.grammar_limits import validate
from omega_server.engine.request import InvalidGrammar
from omega_server.forms import schema as schemas
from omega_server.forms.grammar import Form, Schema


def chain(length):
    """Schemas that refer to each other, one after the other."""
    defs = {f"a{n}": {"type": "array", "items": {"$ref": f"#/$defs/a{n + 1}"}} for n in range(length)}
    return {"$ref": "#/$defs/a0", "$defs": {**defs, f"a{length}": {"type": "null"}}}


def nested(depth):
    """A schema within a schema."""
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def laughs(keyword, length=40):
    """Schemas that refer twice to the next one."""
    defs = {f"a{n}": {keyword: [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(length)}
    return {"$ref": "#/$defs/a0", "$defs": {**defs, f"a{length}": {"type": "object"}}}


def either(count):
    """One of so many properties."""
    return {"anyOf": [{"type": "object", "properties": {f"p{count}x{n}": {"type": "string"}}} for n in range(count)]}


def text(pattern):
    """A string with a pattern."""
    return {"type": "string", "pattern": pattern}


REFUSED = {
    "depth 10000": nested(10_000),
    "depth": nested(65),
    "chain": chain(3_000),
    "short chain": chain(200),
    "(a+)+$": text("(a+)+$"),
    "(?:x+x+)+y": text("^(?:x+x+)+y"),
    "([a-z]*|b{2,})*": text("([a-z]*|b{2,})*"),
    "pattern properties": {"type": "object", "patternProperties": {r"^(\d+)*$": {}}},
    "long pattern": text("a" * 1_001),
    "look-ahead": text("(?=a)b"),
    "back reference": text(r"(a)\1"),
    "properties": {"type": "object", "properties": {f"p{n}": {"type": "null"} for n in range(501)}},
    "values": {"enum": list(range(4_001))},
    "multiples": {"type": "object", "properties": {f"p{n}": {"multipleOf": n} for n in (997, 991)}},
    "no number": {"multipleOf": 0},
    "ways": {"allOf": [either(2) for _ in range(10)]},
    "twice anyOf": laughs("anyOf"),
    "elsewhere": {"$ref": "https://example.org/schema"},
    "nowhere": {"$ref": "#/$defs/missing", "$defs": {}},
    "no step": {"$ref": "#/enum/9", "enum": [1]},
    "not": {"not": {"type": "string"}},
    "contradiction": {"type": "string", "const": 3},
    "unknown format": {"type": "string", "format": "poem"},
    "range": {"type": "number", "minimum": -1.23e300, "maximum": 1e308},
    "circle beside": {"type": "object", "items": {"allOf": [{"const": "a", "$ref": "#"}]}},
    "circle of patterns": {"properties": {"a": {"$ref": "#"}}, "patternProperties": {"a": {"$ref": "#"}}},
    "no type": {"type": "poem"},
    "type": {"type": 3},
    "ref": {"$ref": 3},
    "properties list": {"type": "object", "properties": []},
    "circle": {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"type": "object"}]}}},
}
TAKEN = {
    "slug": text("^[a-z]+(-[a-z]+)*$"),
    "escaped": text(r"^(\(a+\))+$"),
    "class": text(r"^([)+*]b)+$"),
    "chain": chain(100),
    "once": laughs("allOf", 20),
    "escape": {"$ref": "#/$defs/a~1b~0", "$defs": {"a/b~": {"const": 1}}},
    "list": {"anyOf": [{"const": 1}, {"$ref": "#/anyOf/0"}]},
    "whole": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
    "multiples": {"type": "object", "properties": {"a": {"multipleOf": 0.01}, "b": {"multipleOf": 25}}},
    "properties": {"type": "object", "properties": {f"p{n}": {"type": "null"} for n in range(500)}},
    "ways": either(20),
    "anything": {},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_quickly(name):
    """A schema that is wrong or costs too much is refused with a reason, and within a second of processor time."""
    began = time.process_time()
    with pytest.raises(InvalidGrammar, match=r"^[^\n]{3,300}$") as caught:
        validate(Form(Schema(REFUSED[name], strict=True)).grammar())
    assert "guidance" not in str(caught.value)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken(name):
    """A schema that can be enforced at a sensible cost becomes a grammar."""
    schemas.check(TAKEN[name])
    grammar = Form(Schema(TAKEN[name], strict=True)).grammar()
    validate(grammar)
    assert "%json" in grammar


@pytest.mark.parametrize("keyword", [{"not": {"const": 1}}, {"oneOf": [{}, {}]}, {"format": "poem"}])
def test_without_strict_what_cannot_be_enforced_is_a_wish(keyword):
    """What a strict schema is refused for does no harm in one that is not."""
    with pytest.raises(InvalidGrammar):
        validate(Form(Schema(keyword, strict=True)).grammar())
    validate(Form(Schema(keyword)).grammar())
