"""Tables, ages and sizes, for people."""

from collections.abc import Sequence
from datetime import UTC, datetime

from omega_server.client.server import printable

UNITS = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def table(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Rows with aligned columns, the first one the head; nothing is cut."""
    shown = [[printable(cell).replace("\n", " ").replace("\t", " ") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in shown)
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def age(since: str | None, now: datetime) -> str:
    """How long ago a moment of the API server's was: 40s, 5m, 3h, 12d."""
    if not since:
        return "-"
    seconds = max(int((now - datetime.fromisoformat(since)).total_seconds()), 0)
    # Two of a unit at least: 90s says more than 1m.
    return next((f"{seconds // size}{unit}" for size, unit in UNITS if seconds >= 2 * size), f"{seconds}s")


def now() -> datetime:
    """In UTC."""
    return datetime.now(UTC)


def size(count: float) -> str:
    """Bytes in the largest binary unit of which there is one."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def paragraph(text: str, indent: str = "  ", width: int = 100) -> str:
    """A text in lines of a terminal's width."""
    lines = [indent.rstrip("\n")]
    for word in printable(text).split():
        if len(lines[-1]) + len(word) + 1 > width and lines[-1].strip():
            lines.append(indent)
        lines[-1] += word if lines[-1] == indent else f" {word}"
    return "\n".join(lines)
