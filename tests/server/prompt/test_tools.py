"""Tools, calls and what came of them, as the checkpoint's own template writes them."""

import json
import shutil
from pathlib import Path

import pytest

from omega_server.engine.request import ContextLengthExceeded
from omega_server.prompt.messages import Call, Turn
from omega_server.prompt.processor import Processor

MODEL = Path(__file__).parents[3] / "demo" / "model"
PAINT = {
    "type": "function",
    "function": {"name": "paint", "description": "Paints.", "parameters": {"type": "object", "properties": {}}},
}
TURNS = [
    Turn("system", ("Be brief.",)),
    Turn("user", ("Paint it",)),
    Turn("assistant", ("Gladly.",), (Call("paint", '{"colour": "red"}'), Call("paint", "{}"))),
    Turn("tool", ("done",)),
    Turn("tool", ("half ", "done")),
]


@pytest.fixture(scope="module")
def processor():
    """The demo model's."""
    return Processor(str(MODEL), 8192)


def test_a_conversation_with_tools(processor):
    """It is written as Qwen's template writes it."""
    assert processor.render(TURNS, (PAINT,)) == (
        "<|im_start|>system\nBe brief.\n\n# Tools\n\nYou may call one or more functions to assist with the user query."
        "\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
        + json.dumps(PAINT)
        + "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n'
        "</tool_call><|im_end|>\n<|im_start|>user\nPaint it<|im_end|>\n<|im_start|>assistant\nGladly.\n<tool_call>\n"
        '{"name": "paint", "arguments": {"colour": "red"}}\n</tool_call>\n<tool_call>\n{"name": "paint", "arguments": {}}'
        "\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\ndone\n</tool_response>\n<tool_response>\nhalf done\n"
        "</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_its_tokens_are_those_of_its_text(processor):
    """Where nobody writes control tokens, the prompt is the rendered text's, with or without tools."""
    for tools in ((), (PAINT,)):
        expected = processor.tokenizer.encode(processor.render(TURNS, tools), add_special_tokens=False).ids
        assert list(processor.tokens(TURNS, tools).token_ids) == expected


@pytest.mark.parametrize("token", ["<|im_end|>", "<|image_pad|>", "<tool_call>", "</tool_response>"])
def test_control_tokens_are_text_there_too(processor, token):
    """In arguments, in what came of a call, and in the description of a tool, control tokens are only letters."""

    def count(word):
        tool = {"type": "function", "function": {"name": "paint", "description": word}}
        turns = [*TURNS[:2], Turn("assistant", (), (Call("paint", json.dumps({"a": word})),)), Turn("tool", (word,))]
        return processor.tokens(turns, (tool,)).token_ids.count(processor.tokenizer.token_to_id(token))

    assert count(f"x{token}") == count("x")


def test_arguments_count_for_the_length(processor):
    """Arguments that are surely too long are refused before any work, like text."""
    with pytest.raises(ContextLengthExceeded, match="at least"):
        processor.tokens([*TURNS[:2], Turn("assistant", (), (Call("paint", "x" * 5_000_000),))])


@pytest.mark.parametrize(
    "template",
    ["{% for m in messages %}{{ m.role }}{% endfor %}", "{{ raise_exception('Only poems.') }}"],
    ids=["silent", "raises"],
)
def test_a_template_may_know_no_tools(processor, tmp_path, template):
    """Whoever asks learns whether the template writes tools and their calls, in Qwen's format."""
    assert processor.knows_tools()
    shutil.copytree(MODEL, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "model" / "chat_template.jinja").write_text(template)
    assert not Processor(str(tmp_path / "model"), 8192).knows_tools()
