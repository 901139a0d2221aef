"""CustomResourceDefinitions and settings of other projects, as they are in those projects' Go modules: for tests, without the projects."""

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

CACHE = PLACES.cache / "definitions"

FILES: dict[str, dict[str, tuple[str, ...]]] = {
    "definitions": {
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
    },
    "argo-cd": {
        "github.com/argoproj/argo-cd/v3": (
            "manifests/crds/application-crd.yaml",
            "manifests/crds/appproject-crd.yaml",
            "manifests/base/config/argocd-cm.yaml",
            "manifests/base/config/argocd-gpg-keys-cm.yaml",
            "manifests/base/config/argocd-rbac-cm.yaml",
            "manifests/base/config/argocd-secret.yaml",
            "manifests/base/config/argocd-ssh-known-hosts-cm.yaml",
            "manifests/base/config/argocd-tls-certs-cm.yaml",
        ),
    },
}
"""By the directory below tools/go whose go.mod has the versions, and go.sum what they are: what we take from each module."""


def ensure(which: str = "definitions") -> Path:
    """Download what is not here yet; returns the directory of the files.

    Raises:
        ClusterError: if Go is nowhere to be had, or a module is not what go.sum says.
    """
    directory = CACHE / _key(which)
    with locked(CACHE / "lock"):
        if not directory.exists():
            _download(which, directory)
    return directory


def _key(which: str) -> str:
    content = [(go_tools.MODULES / which / name).read_bytes() for name in ("go.mod", "go.sum")]
    return hashlib.sha256(b"".join(content) + json.dumps(FILES[which]).encode()).hexdigest()[:16]


def _download(which: str, directory: Path) -> None:
    say(f"downloading the definitions of other projects once ({which})")
    module_file = go_tools.MODULES / which / "go.mod"
    lines = [line.split() for line in module_file.read_text().splitlines() if line.startswith("\t")]
    versions = {words[0]: words[1] for words in lines if "=>" not in words}
    # Modules of hundreds of megabytes, of which a few files are kept.
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        environment = {**os.environ, "GOMODCACHE": scratch, "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local"}
        partial = Path(scratch) / "partial"
        partial.mkdir()
        for module, files in FILES[which].items():
            command = ("mod", "download", "-json", f"{module}@{versions[module]}")
            found = json.loads(run(go_tools.compiler(), *command, cwd=module_file.parent, env=environment))
            for file in files:
                shutil.copy(Path(found["Dir"]) / file, partial)
        partial.rename(directory)
