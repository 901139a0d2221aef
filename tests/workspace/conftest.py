"""What the tests of the documents share."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def rows() -> Callable[[str], list[list[str]]]:
    """``rows(path)``: the cells of every table row of a Markdown file, without heads, backticks and pipes that are text."""

    def read(path: str) -> list[list[str]]:
        found: list[list[str]] = []
        for line in (ROOT / path).read_text().splitlines():
            if re.fullmatch(r"\|[-:| ]+\|", line):
                found.pop()  # the line before is the table's head
            elif line.startswith("|"):
                cells = re.split(r"(?<!\\)\|", line.strip("|"))
                found.append([cell.replace("`", "").replace("\\|", "|").strip() for cell in cells])
        return found

    return read
