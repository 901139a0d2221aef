"""docs/troubleshooting.md has each condition and reason that the operator can write, and quotes logs as they are."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = "docs/troubleshooting.md"
SOURCES = {
    path: path.read_text() for folder in ("operator", "server") for path in sorted((ROOT / folder).rglob("*.py"))
}

Rows = Callable[[str], list[list[str]]]


def calls(name: str) -> Iterator[ast.Call]:
    """Every call of a name in the operator."""
    for path, text in SOURCES.items():
        if path.is_relative_to(ROOT / "operator"):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                    yield node


def reasons() -> Iterator[tuple[str, str, str]]:
    """Condition, status and reason as the code writes them."""
    for cause in calls("Cause"):
        yield "Stalled", "True", ast.literal_eval(cause.args[0])
    for judgement in calls("Judgement"):
        condition, status, reason = judgement.args[:3]
        if isinstance(reason, ast.Constant):
            yield ast.literal_eval(condition), ast.literal_eval(status), reason.value
        else:
            # Ready and Stalled repeat a cause, Reconciling repeats Ready: the page says so once.
            assert ast.unparse(reason) in {"cause.reason", "ready.reason"}


def test_every_reason_is_documented_and_the_reverse(rows: Rows) -> None:
    """Each combination stands in a table, once, and no other does."""
    table = [tuple(row[:3]) for row in rows(PAGE) if len(row) == 5 and row[2] != "as Ready's"]
    assert len(table) == len(set(table))
    assert set(table) == set(reasons())


def test_what_needs_a_person_says_what_to_do(rows: Rows) -> None:
    """A row of Stalled True names a remedy."""
    assert [row for row in rows(PAGE) if row[:2] == ["Stalled", "True"] and not all(row)] == []


@pytest.mark.parametrize(
    ("heading", "folder"), [("## What the server says", "server"), ("## The operator's log", "operator")]
)
def test_quoted_lines_are_in_the_code(heading: str, folder: str) -> None:
    """What a page tells people to look for is what the program says."""
    section = (ROOT / PAGE).read_text().split(heading)[1].split("\n## ")[0]
    said = [line.split("|")[1].strip().replace("\\*", "*") for line in section.splitlines() if line.startswith("| ")]
    texts = " ".join(_strings(path) for path in SOURCES if path.is_relative_to(ROOT / folder))
    assert len(said) > 5
    assert [line for line in said[1:] if line not in texts] == []


def _strings(path: Path) -> str:
    """All literal texts of a file, with values of f-strings left out."""
    return " ".join(
        node.value
        for node in ast.walk(ast.parse(SOURCES[path]))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
