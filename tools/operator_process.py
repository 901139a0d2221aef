"""The operator of this checkout as a process of this machine: how tests and tools start it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from cluster.places import PLACES

ROOT = Path(__file__).resolve().parents[1]

NO_IMAGE = "omega-server:none"
"""A server's image for resources whose pods never run."""

PATIENCE = 120.0
"""For a replica to get to work, in seconds."""


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def metric(text: str, name: str) -> float | None:
    """The value of one of a replica's metrics, of all its labels together; None: it has none yet.

    Args:
        text: its answer to /metrics.
        name: of the metric.
    """
    values = [
        one.value for family in text_string_to_metric_families(text) for one in family.samples if one.name == name
    ]
    return sum(values) if values else None


def leads(metrics: str) -> bool:
    """Whether a replica that answers so to /metrics is the leader."""
    return metric(metrics, "omega_operator_leader_election_master_status") == 1


def environment(
    *,
    name: str,
    kubeconfig: Path,
    namespaces: Sequence[str],
    port: int,
    home: Path,
    lease: str = "",
    image: str = NO_IMAGE,
) -> dict[str, str]:
    """The settings of a replica.

    Args:
        name: of the replica, as its Lease has it.
        kubeconfig: of the cluster.
        namespaces: that it serves.
        port: of its probes and metrics.
        home: a directory that it may write to.
        lease: namespace of the Lease; empty: the first of those that it serves.
        image: of the server, where a resource names none.
    """
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": f"{ROOT / 'crds'}:{ROOT / 'operator'}",
        "KUBECONFIG": str(kubeconfig),
        "SERVER_IMAGE": image,
        "WATCH_NAMESPACES": ",".join(namespaces),
        "POD_NAMESPACE": lease or namespaces[0],
        "POD_NAME": name,
        "PROBE_PORT": str(port),
        "LOG_FORMAT": "text",
    }


def launch(settings: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a replica, which adds what it says to a file."""
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, "-m", "omega_operator"], env=settings, stdout=file, stderr=file)


@contextlib.contextmanager
def running(namespaces: Sequence[str], image: str = NO_IMAGE) -> Iterator[None]:
    """Run it on the local cluster, from when it leads and watches; see `environment` for the arguments.

    Raises:
        RuntimeError: it does not get to work, has ended by itself, or has met a defect of its own.
    """
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        port = free_port()
        settings = environment(
            name="tool", kubeconfig=PLACES.kubeconfig, namespaces=namespaces, port=port, home=home, image=image
        )
        process = launch(settings, home / "log")
        try:
            deadline = time.monotonic() + PATIENCE
            while not _is_at_work(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the operator does not get to work:\n{(home / 'log').read_text()[-4000:]}")
                time.sleep(0.2)
            yield
            said = (home / "log").read_text()
            if process.poll() is not None or "a defect of the operator" in said:
                raise RuntimeError(f"the operator did not run well:\n{said[-4000:]}")
        finally:
            process.terminate()
            process.wait()


def _is_at_work(port: int) -> bool:
    """Whether a replica watches, and leads."""
    with contextlib.suppress(OSError):
        return "ok" in _asked(port, "/readyz") and leads(_asked(port, "/metrics"))
    return False


def _asked(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text
