"""How far a load is: one line that is written again and again on a terminal, a line now and then elsewhere."""

import time
from typing import TextIO

from omega_server.bench.figures import Record

REFRESH_SECONDS = 0.1
BAR = 24


class Progress:
    """Counts pieces and answers."""

    def __init__(self, total: int, stream: TextIO) -> None:
        """Nothing is written yet.

        Args:
            total: number of requests.
            stream: where the line goes.
        """
        self._total = total
        self._stream = stream
        self._terminal = stream.isatty()
        self._begin = self._shown = time.monotonic()
        self._pieces = self._done = self._errors = 0

    def piece(self) -> None:
        """A piece of an answer came."""
        self._pieces += 1
        if self._terminal and time.monotonic() - self._shown >= REFRESH_SECONDS:
            self._rewrite()

    def done(self, record: Record) -> None:
        """An answer is complete, or failed."""
        before, self._done = self._done, self._done + 1
        self._errors += record.error is not None
        if self._terminal:
            self._rewrite()
        elif 10 * before // self._total < 10 * self._done // self._total:
            self._stream.write(self.line() + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Leave the line."""
        if self._terminal:
            self._stream.write("\n")
            self._stream.flush()

    def line(self) -> str:
        """What there is to say now."""
        filled = BAR * self._done // self._total
        seconds = max(time.monotonic() - self._begin, 1e-9)
        errors = f", {self._errors} failed" if self._errors else ""
        return (
            f"[{'#' * filled}{'.' * (BAR - filled)}] {self._done}/{self._total} requests, "
            f"{self._pieces} pieces, {self._pieces / seconds:.0f} pieces/s{errors}"
        )

    def _rewrite(self) -> None:
        self._shown = time.monotonic()
        self._stream.write("\r" + self.line() + "\x1b[K")
        self._stream.flush()
