"""The operator of this checkout as a process of this machine, for a few namespaces of the local cluster."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cluster.places import PLACES

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def running(namespaces: Sequence[str], image: str) -> Iterator[None]:
    """Run it; its Lease is in the first namespace.

    Args:
        namespaces: that it serves.
        image: of the server, where a resource names none.

    Raises:
        RuntimeError: it has ended by itself, or has met a defect of its own.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT / 'crds'}:{ROOT / 'operator'}",
        "KUBECONFIG": str(PLACES.kubeconfig),
        "SERVER_IMAGE": image,
        "WATCH_NAMESPACES": ",".join(namespaces),
        "POD_NAMESPACE": namespaces[0],
        "POD_NAME": "tool",
        "PROBE_PORT": str(port),
        "LOG_FORMAT": "text",
    }
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-m", "omega_operator"], env=environment, stdout=log, stderr=log)
        try:
            yield
            said = Path(log.name).read_text()
            if process.poll() is not None or "a defect of the operator" in said:
                raise RuntimeError(f"the operator did not run well:\n{said[-4000:]}")
        finally:
            process.terminate()
            process.wait()
