"""Calls of tools in the text of an answer, however it is cut into pieces, and the grammar that makes them."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omega_server.engine.grammar_limits import validate
from omega_server.engine.request import InvalidGrammar
from omega_server.forms.calls import CallBegins, CallGoesOn, Calls, Words
from omega_server.forms.grammar import Form, Schema, Tool

FIND = Tool("find", Schema({"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}))
LOOK = Tool("look-up_2", Schema({"type": "object"}))


def call(name, arguments):
    """A call as the model writes it."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def read(pieces):
    """The words of an answer, and its calls as (name, arguments)."""
    words, calls = "", []
    for piece in pieces:
        match piece:
            case Words(text):
                assert text
                words += text
            case CallBegins(index, name, number):
                assert index == len(calls)
                assert number.startswith("call_")
                calls.append((name, ""))
            case CallGoesOn(index, arguments):
                assert arguments
                assert index == len(calls) - 1
                calls[-1] = (calls[-1][0], calls[-1][1] + arguments)
    return words, calls


ARGUMENTS = st.dictionaries(
    st.text(max_size=5), st.text(max_size=9) | st.sampled_from(["</tool_call>", "}\n</tool_call>", "<tool_call>", '"}'])
).map(json.dumps)


@given(st.sampled_from(["", "Let me see.", "a < b \n c", "<tool_", "\n\n"]), st.lists(ARGUMENTS, max_size=3), st.data())
def test_calls_are_found_however_the_text_is_cut(said, arguments, data):
    """Words and calls come out the same, wherever the text is cut; the space before a call is no words."""
    calls = [("find", text) for text in arguments]
    whole = said + ("\n" if said and calls else "") + "\n".join(call(*item) for item in calls)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    subject, pieces = Calls(), []
    for start, end in pairwise([0, *cuts, len(whole)]):
        pieces += subject.push(whole[start:end])
    pieces += subject.push("", last=True)
    assert read(pieces) == (said.rstrip() if calls else said, calls)
    assert subject.complete == len(calls)


def test_words_and_arguments_do_not_wait():
    """Words come at once, unless a call may begin; a name as soon as it is known; then arguments as they come."""
    subject = Calls()
    assert subject.push("Hello wor") == [Words("Hello wor")]
    assert subject.push("ld.\n<tool") == [Words("ld.")]
    assert subject.push('_call>\n{"name": "fi') == []
    begun, first = subject.push('nd", "arguments": {"what"')
    assert (begun.index, begun.name, first) == (0, "find", CallGoesOn(0, '{"what"'))
    assert subject.push(': "a"}') == [CallGoesOn(0, ': "a"')]
    assert subject.push("}\n</tool_call>") == [CallGoesOn(0, "}")]
    assert subject.complete == 1


def test_what_is_cut_off_is_given_as_it_is():
    """An answer that ends within a call has the arguments so far, and the call does not count as complete."""
    subject = Calls()
    pieces = subject.push(call("find", '{"what": "a b"}')[:-20]) + subject.push("", last=True)
    assert read(pieces)[1][0][1].startswith('{"what": ')
    assert subject.complete == 0
    unnamed = Calls()
    assert unnamed.push('Well <tool_call>\n{"na') + unnamed.push("", last=True) == [Words("Well")]


@pytest.mark.parametrize(
    ("form", "rule"),
    [
        (Form(tools=[FIND]), "start: TEXT | begin calls"),
        (Form(tools=[FIND], calls="required"), 'start: "<tool_call>" calls'),
        (Form(Schema({"type": "object"}), [FIND]), 'start: content | "<tool_call>" calls'),
        (Form(Schema({"type": "object"})), "start: content"),
    ],
)
def test_how_an_answer_begins(form, rule):
    """With words, a call or JSON, as the form says."""
    assert rule in form.grammar().splitlines()


def test_no_form_needs_no_grammar():
    """Where everything is allowed nothing need be followed."""
    assert Form().grammar() is None


def test_arguments_must_have_a_schema_that_can_be_followed():
    """A tool is refused like a schema."""
    with pytest.raises(InvalidGrammar):
        validate(Form(tools=[FIND, Tool("bad", Schema({"type": "object", "not": {}}, strict=True))]).grammar())
