"""CustomResourceDefinitions of other projects, as they are in those projects' Go modules: for tests, without the projects."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from cluster import go_tools
from cluster.places import PLACES
from cluster.shell import locked, run, say

MODULE = go_tools.MODULES / "definitions"
CACHE = PLACES.cache / "definitions"

FILES = {
    "github.com/kedacore/keda/v2": (
        "config/crd/bases/keda.sh_scaledobjects.yaml",
        "config/crd/bases/keda.sh_triggerauthentications.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
    "sigs.k8s.io/gateway-api": ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",),
    "sigs.k8s.io/gateway-api-inference-extension": (
        "config/crd/bases/inference.networking.k8s.io_inferencepools.yaml",
    ),
}
"""What we take from each module; go.mod has the versions and go.sum what they are."""


def ensure() -> Path:
    """Download what is not here yet; returns the directory of the files.

    Raises:
        ClusterError: if Go is nowhere to be had, or a module is not what go.sum says.
    """
    directory = CACHE / _key()
    with locked(CACHE / "lock"):
        if not directory.exists():
            _download(directory)
    return directory


def _key() -> str:
    content = [(MODULE / name).read_bytes() for name in ("go.mod", "go.sum")]
    return hashlib.sha256(b"".join(content) + json.dumps(FILES).encode()).hexdigest()[:16]


def _download(directory: Path) -> None:
    say("downloading the definitions of other projects once")
    versions = dict(line.split() for line in (MODULE / "go.mod").read_text().splitlines() if line.startswith("\t"))
    # Modules of hundreds of megabytes, of which a few files are kept.
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        environment = {**os.environ, "GOMODCACHE": scratch, "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local"}
        partial = Path(scratch) / "partial"
        partial.mkdir()
        for module, files in FILES.items():
            command = ("mod", "download", "-json", f"{module}@{versions[module]}")
            found = json.loads(run(go_tools.compiler(), *command, cwd=MODULE, env=environment))
            for file in files:
                shutil.copy(Path(found["Dir"]) / file, partial)
        partial.rename(directory)
