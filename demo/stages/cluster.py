"""The cluster: the one that KUBECONFIG names, or one of our own, made by tools/cluster."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import buildah, go_tools
from cluster.places import PLACES
from stages.console import DemoError
from stages.program import ROOT, run

IMAGE_MINUTES = 8
"""To build the two images for the first time, and to bring them into the cluster."""
TOOLS = (*go_tools.FOR_THE_NODE, "helm")
ADVICE = f"read the lines above, then run the same again: it goes on where it stopped. The logs are in {PLACES.log}"


def _local(*arguments: str | Path, show: Callable[[str], None] | None = None) -> str:
    return run(sys.executable, ROOT / "tools/cluster", *arguments, advice=ADVICE, show=show)


@dataclass(frozen=True)
class Cluster:
    """How to talk to the cluster."""

    kubeconfig: Path
    tools: Path
    """Directory of kubectl and helm."""
    own: bool
    """Whether tools/cluster started it: images are then imported into it, and `down` ends it."""

    def run(self, *command: str, advice: str = ADVICE, stdin: str | None = None) -> str:
        """The output of kubectl or helm, run against the cluster.

        Raises:
            DemoError: it failed.
        """
        program, *rest = command
        return run(self.program(program), *rest, advice=advice, environment=self.environment, stdin=stdin)

    def get(self, *arguments: str) -> dict[str, Any]:
        """What ``kubectl get ARGUMENTS -o json`` answers; empty if there is no such object.

        Raises:
            DemoError: the cluster does not answer.
        """
        text = self.run("kubectl", "get", *arguments, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else {}

    def program(self, name: str) -> str:
        """Path of ``name``: ours before the machine's."""
        ours = self.tools / name
        return str(ours) if ours.exists() else shutil.which(name) or name

    @property
    def environment(self) -> dict[str, str]:
        """Variables that point kubectl and helm at the cluster."""
        return {"KUBECONFIG": str(self.kubeconfig)}


def foreign() -> Path | None:
    """The kubeconfig that KUBECONFIG names, unless it is that of our own cluster."""
    named = os.environ.get("KUBECONFIG")
    if not named or Path(named).resolve() == own_kubeconfig().resolve():
        return None
    return Path(named)


def own_kubeconfig() -> Path:
    """Where our own cluster's kubeconfig is, or will be."""
    return PLACES.kubeconfig


def minutes_to_build() -> int:
    """How long the tools and images that are still missing take to build on two cores; 0 if none is."""
    missing = [tool for tool in go_tools.ALL.values() if tool.name in TOOLS and not go_tools.binary(tool.name).exists()]
    return -(-sum(tool.seconds for tool in missing) // 60) + (0 if buildah.STORE.exists() else IMAGE_MINUTES)


def tools(show: Callable[[str], None]) -> Path:
    """The directory of kubectl and helm, and of all that our own cluster needs; what is missing is built.

    Raises:
        DemoError: a build failed.
    """
    clients = ("kubectl", "helm")
    if foreign() and all(shutil.which(name) for name in clients):
        return go_tools.directory()
    names = clients if foreign() else TOOLS
    return Path(_local("tools", *names, show=show).strip().splitlines()[-1])


def own_cluster(tools: Path, show: Callable[[str], None]) -> Cluster:
    """Our own cluster, started if it is not.

    Raises:
        DemoError: it does not start.
    """
    _local("up", show=show)
    return Cluster(own_kubeconfig(), tools, own=True)


def foreign_cluster(kubeconfig: Path, tools: Path) -> Cluster:
    """The cluster that ``kubeconfig`` names."""
    return Cluster(kubeconfig, tools, own=False)


def end(show: Callable[[str], None]) -> None:
    """End our own cluster.

    Raises:
        DemoError: something of it is left.
    """
    _local("down", show=show)


def build_image(dockerfile: Path, reference: str, show: Callable[[str], None]) -> None:
    """Build an image and have it in our own cluster.

    Raises:
        DemoError: the build failed.
    """
    _local("build-image", dockerfile, reference, show=show)


def describe(cluster: Cluster) -> str:
    """One line about a cluster that answers.

    Raises:
        DemoError: it does not answer, or is too old.
    """
    version = json.loads(cluster.run("kubectl", "version", "-o", "json"))["serverVersion"]
    nodes = cluster.get("nodes")["items"]
    gpus = sum(int(node["status"]["allocatable"].get("nvidia.com/gpu", 0)) for node in nodes)
    if (int(version["major"]), int(version["minor"].rstrip("+"))) < (1, 31):
        raise DemoError(f"Kubernetes {version['gitVersion']} is too old.", "use Kubernetes 1.31 or newer.")
    named = f"{len(nodes)} nodes" if len(nodes) > 1 else f"node {nodes[0]['metadata']['name']}"
    return f"Kubernetes {version['gitVersion']}, {named}" + (f", {gpus} GPUs advertised" if gpus else "")
