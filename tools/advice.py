"""What to do about each reason and each last word of a server, for `kubectl omega why`: from docs/troubleshooting.md."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

PAGE = "docs/troubleshooting.md"
LAST_WORDS = "## What the server says"


def advice(root: Path) -> str:
    """JSON: by condition and reason what it `means` and what to `do`; by a server's last words what to do."""
    text = (root / PAGE).read_text()
    reasons: dict[str, dict[str, dict[str, str]]] = {}
    for cells in _rows(text):
        if len(cells) == 5 and cells[1] in {"True", "False", "Unknown"} and cells[2] != "as Ready's":
            condition, _, reason, means, do = cells
            reasons.setdefault(condition, {})[reason] = {"means": means, "do": do}
    section = text.partition(LAST_WORDS)[2].partition("\n## ")[0]
    last_words = dict(cells for cells in _rows(section) if cells[0] != "It says")
    return json.dumps({"reasons": reasons, "lastWords": last_words}, indent=2, ensure_ascii=False) + "\n"


def _rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [_plain(cell.strip()) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _plain(cell: str) -> str:
    """Markdown as a terminal shows it."""
    linked = re.sub(r"\[([^]]+)\]\(#[^)]+\)", rf"\1 ({PAGE})", cell)
    linked = re.sub(r"\[([^]]+)\]\(([^)#]+)[^)]*\)", r"docs/\2", linked)
    return linked.replace("`", "").replace("\\|", "|").replace("\\*", "*").replace("&lt;", "<").replace("**", "")
