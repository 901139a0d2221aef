"""docs/errors.md has the errors that the server's code has: no more, no fewer, with their status and type."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from omega_server.wire import errors, faults, messages

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "server" / "omega_server"

Error = tuple[int, str, str]
"""Status, type, code."""

CODE_ARGUMENT = {"bad_request": 0, "MediaError": 0, "PydanticCustomError": 0, "Problem": 1}
"""What makes an error, and which of its arguments is the code."""

ELSEWHERE = {
    "answer['code']",  # pool: from the decoding process, which runs the code of decode
    "code",  # bad_request itself, and first_fault with what faults._code returns
    "vars(error)['code']",  # problem_of: from a MediaError
    "UNSUPPORTED_PARTS[kind]",
}
"""Codes that are no words where an error is made."""


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call that makes an error."""
    for file in sorted(SERVER.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CODE_ARGUMENT:
                yield node.func.id, node


def written_out() -> Iterator[Error]:
    """Errors whose code stands where they are made."""
    for name, call in calls():
        code = call.args[CODE_ARGUMENT[name]]
        if isinstance(code, ast.JoinedStr):
            for medium in ("image", "video"):  # nothing else is ever put into a code
                words = [part.value if isinstance(part, ast.Constant) else medium for part in code.values]
                yield 400, errors.INVALID_REQUEST, "".join(map(str, words))
        elif not isinstance(code, ast.Constant):
            assert ast.unparse(code) in ELSEWHERE, f"where does the code {ast.unparse(code)} come from?"
        elif name == "Problem":
            status = ast.literal_eval(call.args[0])
            kinds = [ast.unparse(word.value) for word in call.keywords if word.arg == "type"]
            kind = (
                getattr(errors, kinds[0])
                if kinds and kinds[0].isidentifier()
                else ast.literal_eval(kinds[0] if kinds else repr(errors.INVALID_REQUEST))
            )
            yield status, kind, code.value
        else:
            yield 400, errors.INVALID_REQUEST, code.value


def from_tables() -> set[str]:
    """Codes that come from tables, and from faults._code, which reads them."""
    bounds = {f"{number}_{word}_value" for number in ("integer", "decimal") for _, word in faults._BOUNDS.values()}
    (function,) = (
        node
        for node in ast.parse(Path(faults.__file__).read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "_code"
    )
    returned = {
        node.value
        for statement in ast.walk(function)
        if isinstance(statement, ast.Return) and statement.value is not None
        for node in ast.walk(statement.value)
        if isinstance(node, ast.Constant) and re.fullmatch(r"[a-z]+(_[a-z]+)+", str(node.value))
    }
    return bounds | returned | {*faults._FIXED_CODES.values(), *faults._OWN_CODES, *messages.UNSUPPORTED_PARTS.values()}


def test_every_error_is_documented_and_the_reverse(rows: Callable[[str], list[list[str]]]) -> None:
    """Status, type and code of each error of the code stand in a table, once, and nothing else does."""
    table = [(int(status), kind, code) for status, kind, code, *_ in rows("docs/errors.md")]
    assert len(table) == len(set(table))
    assert set(table) == {*written_out(), *((400, errors.INVALID_REQUEST, code) for code in from_tables())}


def test_every_row_says_what_to_do(rows: Callable[[str], list[list[str]]]) -> None:
    """No row is left half written: it names the field, the occasion and the remedy."""
    for row in rows("docs/errors.md"):
        assert len(row) == 6, row
        assert all(row), row
