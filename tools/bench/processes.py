"""The processes of one system: started, what they used, ended. Linux: what they used is read from /proc."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

TICKS = os.sysconf("SC_CLK_TCK")
GRACE_SECONDS = 15.0


@dataclass(frozen=True)
class Usage:
    """What a tree of processes used.

    Attributes:
        cpu_s: seconds of all its processes, those that have ended included.
        peak_rss_bytes: sum of the largest resident memory of each one that lives, since it was last reset. What
            processes share counts in each, so it is an upper bound.
    """

    cpu_s: float
    peak_rss_bytes: int


class Group:
    """A process and its descendants, in a session of their own, by which they are found."""

    def __init__(self, command: Sequence[str | Path], environ: Mapping[str, str], log: Path, *, pipes: bool = False):
        """Start it.

        Args:
            command: to run.
            environ: its whole environment.
            log: file for what it writes; only standard error with `pipes`.
            pipes: standard input and output are pipes to here, for lines of text.
        """
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                env=dict(environ),
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else file,
                stderr=file,
                start_new_session=True,
                text=True,
            )
        self.log = log

    def usage(self) -> Usage:
        """What all of them used so far."""
        ticks = peak = 0
        for process in members(self.process.pid):
            # A process may end while it is looked at; then its parent has its time.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                ticks += sum(_times(process))
                peak += _peak(process)
        return Usage(ticks / TICKS, peak)

    def reset_peak(self) -> None:
        """Let the largest resident memory be what it is now."""
        for process in members(self.process.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                Path(f"/proc/{process}/clear_refs").write_text("5")

    def end(self) -> None:
        """Ask it to end, then make it and whatever outlives it."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE_SECONDS)
        for process in members(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def members(session: int) -> list[int]:
    """The living processes of a session, orphans included, without those that only wait to be waited for."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = _fields(int(entry.name))
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(group: Group, url: str, seconds: float) -> float:
    """Wait until a GET of this address is answered with 200.

    Returns:
        when it was, on the monotonic clock.

    Raises:
        RuntimeError: the process ended, or it took too long; with the end of its log.
    """
    address = urlsplit(url)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if group.process.poll() is not None:
            raise RuntimeError(f"{group.log.stem} ended with {group.process.returncode}:\n{group.last_words()}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(str(address.hostname), address.port or 80, timeout=5)
            try:
                connection.request("GET", address.path)
                if connection.getresponse().status == 200:
                    return time.monotonic()
            finally:
                connection.close()
        time.sleep(0.05)
    raise RuntimeError(f"{group.log.stem} was not ready after {seconds:.0f} s:\n{group.last_words()}")


def _times(process: int) -> list[int]:
    """User and system ticks of a process and of its children that it waited for."""
    return [int(field) for field in _fields(process)[11:15]]


def _fields(process: int) -> list[str]:
    """Of /proc/PID/stat, from the third on: the second may have anything in it."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _peak(process: int) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # a process that is ending has no memory
