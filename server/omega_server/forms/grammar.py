"""The grammar of an answer, in llguidance's language: JSON by a schema, calls of tools in Qwen's format, or either.

<tool_call>
{"name": "find", "arguments": {"what": "a red cube"}}
</tool_call>
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from omega_server.forms import schema as schemas

OPEN, NAME, ARGUMENTS, CLOSE = "<tool_call>", '\n{"name": "', '", "arguments": ', "}\n</tool_call>"
"""What stands before a call, its name, its arguments, and after it."""

_WHITESPACE = r"( |\n {0,16})?"
"""Between the parts of JSON. A model that could write as much of it as it likes would sometimes not find an end."""


@dataclass(frozen=True)
class Schema:
    """What JSON must be like.

    Attributes:
        body: the JSON schema.
        strict: every keyword counts, and one that cannot be enforced is a fault. Otherwise it is only a wish.
    """

    body: dict[str, Any]
    strict: bool = False


@dataclass(frozen=True)
class Tool:
    """A function that may be called, and its arguments."""

    name: str
    parameters: Schema


@dataclass(frozen=True)
class Form:
    """What an answer must be like.

    Attributes:
        content: JSON; None for any text.
        tools: that may be called.
        calls: whether any must be.
        parallel: whether there may be several calls.
    """

    content: Schema | None = None
    tools: Sequence[Tool] = ()
    calls: Literal["auto", "required"] = "auto"
    parallel: bool = True

    def grammar(self) -> str | None:
        """As a grammar; None if everything is allowed. Whether it can be enforced is seen by `grammar_limits.validate`.

        Raises:
            InvalidGrammar: a schema is of a kind that is not taken.
        """
        if not self.tools and self.content is None:
            return None
        for asked in [*([self.content] if self.content else []), *(tool.parameters for tool in self.tools)]:
            schemas.check(asked.body)
        return "\n".join(["%llguidance {}", *self._rules()]) + "\n"

    def _rules(self) -> list[str]:
        content = [] if self.content is None else [f"content: {_json(self.content)}"]
        if not self.tools:
            return ["start: content", *content]
        more = f'("\\n{OPEN}" body)*' if self.parallel else ""
        called = [
            f"calls: body {more}",
            f"body: {json.dumps(NAME)} call {json.dumps(CLOSE)}",
            "call: " + "\n    | ".join(map(_call, self.tools)),
        ]
        if self.calls == "required":
            return [f'start: "{OPEN}" calls', *called]
        if content:
            return [f'start: content | "{OPEN}" calls', *content, *called]
        # Text goes on until a call begins, which is as soon as its mark is complete.
        return ["start: TEXT | begin calls", f'begin[lazy]: TEXT "{OPEN}"', r"TEXT: /(.|\n)*/", *called]


def _call(tool: Tool) -> str:
    return f"{json.dumps(tool.name + ARGUMENTS)} {_json(tool.parameters)}"


def _json(schema: Schema) -> str:
    options = {
        "whitespace_pattern": _WHITESPACE,
        "lenient": not schema.strict,
        "coerce_one_of": not schema.strict,
    }
    return "%json " + json.dumps(schema.body | {"x-guidance": options})
