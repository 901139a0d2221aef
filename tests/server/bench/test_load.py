"""When requests are sent, and what is written while they run."""

import asyncio
import io
import itertools
import time
from collections.abc import Callable

from omega_server.bench.figures import Record
from omega_server.bench.load import Shot, send
from omega_server.bench.progress import Progress


class Server:
    """Answers after a while, and counts."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self.arrived: list[bytes] = []

    async def ask(self, body: bytes, due: float, on_piece: Callable[[], None]) -> Record:
        """One piece."""
        self.arrived.append(body)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        on_piece()
        self.running -= 1
        return Record(due, (time.monotonic(),), time.monotonic(), 1, "timeout" if body == b"3" else None)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_concurrency_is_a_limit() -> None:
    """No more at once than asked for, each exactly once, records in order."""
    server = Server()
    shots = [Shot(None, str(i).encode()) for i in range(20)]
    records = await send(server.ask, shots, concurrency=4, progress=Progress(20, io.StringIO()))
    assert server.most == 4
    assert sorted(server.arrived) == sorted(shot.body for shot in shots)
    assert [i for i, record in enumerate(records) if record.error] == [3]


async def test_requests_wait_for_their_times() -> None:
    """Due times are those of the load; one that waits for its turn still counts from its time."""
    server = Server()
    shots = [Shot(i * 0.002, b"") for i in range(10)]
    records = await send(server.ask, shots, concurrency=1, progress=Progress(10, io.StringIO()))
    gaps = [later.sent - earlier.sent for earlier, later in itertools.pairwise(records)]
    assert all(abs(gap - 0.002) < 1e-6 for gap in gaps)
    assert records[-1].ended - records[-1].sent > 0.05  # nine before it, 0.01 s each


async def test_progress_on_a_terminal_is_one_line() -> None:
    """It is written again in place, and left at the end."""
    stream = Terminal()
    progress = Progress(5, stream)
    await send(Server().ask, [Shot(None, str(i).encode()) for i in range(5)], concurrency=5, progress=progress)
    progress.close()
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert written.endswith("\n")
    last = written.split("\r")[-1]
    assert last.startswith("[########################] 5/5 requests, 5 pieces")
    assert "1 failed" in last


async def test_progress_elsewhere_is_plain_lines() -> None:
    """A log gets ten lines at most, without control characters."""
    stream = io.StringIO()
    progress = Progress(40, stream)
    await send(Server().ask, [Shot(None, str(i).encode()) for i in range(40)], concurrency=8, progress=progress)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert "40/40" in lines[-1]
    assert not set(stream.getvalue()) & {"\r", "\x1b"}
