"""Choices in OpenAI's words: text, calls of tools, probabilities, and why they ended."""

import pytest

from omega_server.completion import Delta, TokenLogprob
from omega_server.telling import Telling

CALL = '<tool_call>\n{"name": "paint", "arguments": {"a": 1}}\n</tool_call>'
LIKELY = TokenLogprob("x", b"x", -0.5)


def told(telling, *deltas):
    """The chunks of some deltas, without ids."""
    chunks = [chunk for delta in deltas for chunk in telling.add(0, delta)]
    for chunk in chunks:
        for call in chunk["delta"].get("tool_calls", ()):
            assert call.pop("id", "call_").startswith("call_")
    return [(chunk["delta"], chunk["finish_reason"]) for chunk in chunks]


def test_a_call():
    """A call is told by its name, then by its arguments, and ends the choice as one; the whole says the same."""
    telling = Telling(with_calls=True)
    begun = {"index": 0, "type": "function", "function": {"name": "paint", "arguments": ""}}
    assert told(telling, Delta(0, "Well.\n" + CALL[:40]), Delta(0, CALL[40:]), Delta(0, "", "stop")) == [
        ({"content": "Well."}, None),
        ({"tool_calls": [begun]}, None),
        ({"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]}, None),
        ({}, "tool_calls"),
    ]
    choice = telling.choice(0, with_logprobs=False)
    assert choice["message"]["content"] == "Well."
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "paint", "arguments": '{"a": 1}'}
    assert (choice["finish_reason"], choice["logprobs"]) == ("tool_calls", None)


@pytest.mark.parametrize(
    ("text", "reason", "told_reason"),
    [(CALL, "length", "length"), (CALL[:-5], "stop", "stop"), ("words", "stop", "stop"), ("", "length", "length")],
)
def test_why_it_ended(text, reason, told_reason):
    """Only an answer that ended by itself, with complete calls, ended for its calls."""
    telling = Telling(with_calls=True)
    told(telling, Delta(0, text, reason))
    assert telling.choice(0, with_logprobs=False)["finish_reason"] == told_reason


def test_without_tools_nothing_is_a_call():
    """Where no tools were given, what looks like a call is text."""
    telling = Telling(with_calls=False)
    assert told(telling, Delta(0, CALL, "stop")) == [({"content": CALL}, "stop")]
    assert "tool_calls" not in telling.choice(0, with_logprobs=False)["message"]


def test_probabilities_are_told_once():
    """Each token's probability comes once, though no word may come with it, or several pieces."""
    telling = Telling(with_calls=True)
    chunks = telling.add(0, Delta(0, "a <tool", None, (LIKELY,))) + telling.add(0, Delta(0, "", None, (LIKELY,)))
    chunks += telling.add(0, Delta(0, CALL[5:], "stop", (LIKELY,)))
    assert sum(len((chunk["logprobs"] or {"content": []})["content"]) for chunk in chunks) == 3
    assert len(telling.choice(0, with_logprobs=True)["logprobs"]["content"]) == 3
