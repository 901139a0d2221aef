"""The operator as a process of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from operator_process import environment, free_port, launch

PATIENCE = 180.0
"""Longest time for a start, in seconds."""

PROBE_PERIOD, PROBE_FAILURES = 10.0, 3
"""As in the chart's liveness probe."""


@dataclass(eq=False)
class Replica:
    """One replica of the operator, which can be killed, frozen and started."""

    name: str
    kubeconfig: Path
    namespaces: tuple[str, ...]
    directory: Path
    home: str = ""
    """Namespace of the Lease; empty: the first of those that it serves."""
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    stopped: bool = False
    """Whether it was asked to end."""

    port: int = field(default_factory=free_port)

    @property
    def log(self) -> Path:
        """What it says."""
        return self.directory / f"{self.name}.log"

    @property
    def environment(self) -> dict[str, str]:
        """Its settings."""
        return environment(
            name=self.name,
            kubeconfig=self.kubeconfig,
            namespaces=self.namespaces,
            port=self.port,
            home=self.directory,
            lease=self.home,
        )

    def launch(self) -> None:
        """Start it."""
        self.process = launch(self.environment, self.log)
        self.starts += 1
        self.stopped = False

    async def start(self) -> None:
        """Start it, and return when it is ready."""
        self.launch()
        began = time.monotonic()
        while await self.asked("/readyz") is None:
            if self.ended or time.monotonic() - began > PATIENCE:
                raise RuntimeError(f"the operator did not become ready:\n{self.log.read_text()[-3000:]}")
            await asyncio.sleep(0.1)

    @property
    def ended(self) -> bool:
        """Whether it does not run."""
        return self.process is None or self.process.poll() is not None

    def send(self, what: signal.Signals) -> None:
        """A signal."""
        assert self.process is not None
        self.process.send_signal(what)

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        if not self.ended:
            assert self.process is not None
            self.process.kill()
            self.process.wait()

    async def stop(self) -> None:
        """Ask it to end; returns when it has."""
        self.stopped = True
        if not self.ended:
            assert self.process is not None
            self.send(signal.SIGTERM)
            await asyncio.to_thread(self.process.wait, 30)

    async def asked(self, path: str) -> str | None:
        """What it answers on a path; None if it does not answer with 200."""
        timeout = aiohttp.ClientTimeout(total=5)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"http://127.0.0.1:{self.port}{path}") as answer,
            ):
                return await answer.text() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def supervise(self) -> None:
        """What the kubelet does: start it again when it has ended, or when it says so often that it is not healthy."""
        failures = 0
        while True:
            if self.ended:
                await asyncio.sleep(1)
                self.launch()
                failures = 0
            for _ in range(int(PROBE_PERIOD)):
                await asyncio.sleep(1)
                if self.ended:
                    break
            failures = 0 if self.ended or await self.asked("/healthz") is not None else failures + 1
            if failures >= PROBE_FAILURES:
                self.kill()

    @property
    def resident(self) -> int:
        """Its memory, in bytes."""
        assert self.process is not None
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def peak(self) -> int:
        """The most memory that it had, in bytes."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
