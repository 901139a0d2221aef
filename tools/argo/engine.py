"""Argo CD without its web server: what reads Git, what compares and applies, and the cache between them, as processes.

Its settings are those that its release brings, with our health check added as docs/gitops.md says.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cluster import definitions, go_tools, host_packages
from cluster.places import CHECKOUT
from cluster.shell import ClusterError, tail, wait_until
from operator_process import free_port

HEALTH_CHECK = CHECKOUT / "docs/gitops/argocd-cm.yaml"
RESYNC_SECONDS = 10
"""Between two comparisons where nothing has happened; a release leaves it at two to three minutes."""

REDIS = {"redis-check-rdb": "redis-tools"}
"""The server is this program under another name. The package redis-server would also start a service."""

PROJECT = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "AppProject",
    "metadata": {"name": "default"},
    "spec": {
        "sourceRepos": ["*"],
        "destinations": [{"server": "*", "namespace": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    },
}
"""As Argo CD's web server makes it."""

SIGNING_KEY = {"stringData": {"server.secretkey": "nobody logs in"}}
"""The web server makes it, and the others do nothing without."""

Kubectl = Callable[..., str]
"""``kubectl(*arguments, stdin=None) -> str``."""


@contextlib.contextmanager
def running(kubeconfig: Path, kubectl: Kubectl, namespace: str, home: Path) -> Iterator[None]:
    """Run it, with Applications in a namespace of its own.

    Args:
        kubeconfig: of the cluster that it is in, and manages.
        kubectl: for that cluster.
        namespace: to make, and to delete at the end.
        home: an empty directory.

    Raises:
        ClusterError: it cannot be built or started, or has ended by itself.
    """
    host_packages.ensure(REDIS)
    go_tools.ensure(["argo-cd"])
    argo_cd = go_tools.binary("argo-cd")
    redis, files, files_metrics, metrics = (free_port() for _ in range(4))
    cache = f"--redis=127.0.0.1:{redis}"
    with _settings(kubectl, namespace), contextlib.ExitStack() as processes:

        def start(name: str, program: str | Path, *arguments: str) -> None:
            processes.enter_context(_process(home, kubeconfig, name, program, arguments))

        bare = ("--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        start("redis-server", shutil.which("redis-check-rdb") or "", *bare)
        wait_until(lambda: _listens(redis), "redis to listen", 30)
        here = ("--address=127.0.0.1", f"--port={files}", "--metrics-address=127.0.0.1", "--disable-tls")
        start("argocd-repo-server", argo_cd, cache, *here, f"--metrics-port={files_metrics}", "--logformat=text")
        wait_until(lambda: _listens(files), "Argo CD's repository server to listen", 60)
        start(
            "argocd-application-controller",
            argo_cd,
            cache,
            f"--namespace={namespace}",
            f"--repo-server=127.0.0.1:{files}",
            "--repo-server-plaintext",
            f"--metrics-port={metrics}",
            f"--app-resync={RESYNC_SECONDS}",
            "--app-resync-jitter=0",
            "--persist-resource-health",
            "--logformat=text",
        )
        wait_until(lambda: _is_healthy(metrics), "Argo CD's application controller to be healthy", 60)
        yield


@contextlib.contextmanager
def _process(home: Path, kubeconfig: Path, name: str, program: str | Path, arguments: Sequence[str]) -> Iterator[None]:
    log, scratch = home / f"{name}.log", home / name
    scratch.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(scratch),
        "KUBECONFIG": str(kubeconfig),
        "ARGOCD_FAKE_IN_CLUSTER": "true",  # its own cluster is the one of KUBECONFIG
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_ASK_PASS_SOCK": str(scratch / "ask-pass.sock"),
        "ARGOCD_TLS_DATA_PATH": str(scratch),
        "ARGOCD_SSH_DATA_PATH": str(scratch),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [name, *arguments], executable=program, env=environment, cwd=scratch, stdout=out, stderr=out
        )
    try:
        yield
        if process.poll() is not None:
            raise ClusterError(f"{name} has ended by itself:\n{tail(log.read_text())}")
    except ClusterError as error:
        raise ClusterError(f"{error}\n{name} said last:\n{tail(log.read_text())}") from error
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _settings(kubectl: Kubectl, namespace: str) -> Iterator[None]:
    """Its definitions, where the cluster has none, and its settings."""
    directory = definitions.ensure("argo-cd")
    kinds = [f"--filename={file}" for file in sorted(directory.glob("*-crd.yaml"))]
    were_there = kubectl("get", *kinds, "--ignore-not-found", "--output=name").split()
    kubectl("create", "namespace", namespace)
    try:
        kubectl("apply", "--server-side", *kinds)
        wait_until(lambda: _are_served(kubectl, kinds), "Argo CD's kinds to be served", 60)
        for file in sorted(directory.glob("argocd-*.yaml")):
            kubectl("apply", f"--namespace={namespace}", f"--filename={file}")
        kubectl("patch", "configmap", "argocd-cm", "--namespace", namespace, "--patch-file", str(HEALTH_CHECK))
        kubectl("patch", "secret", "argocd-secret", "--namespace", namespace, f"--patch={json.dumps(SIGNING_KEY)}")
        kubectl("create", f"--namespace={namespace}", "--filename=-", stdin=json.dumps(PROJECT))
        yield
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")
        names = kubectl("get", *kinds, "--ignore-not-found", "--output=name").split()
        if ours := [name for name in names if name not in were_there]:
            kubectl("delete", *ours)


def _are_served(kubectl: Kubectl, kinds: list[str]) -> bool:
    found = json.loads(kubectl("get", *kinds, "--output=json"))["items"]
    conditions = [one.get("status", {}).get("conditions") or () for one in found]
    return all(any((it["type"], it["status"]) == ("Established", "True") for it in one) for one in conditions)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _is_healthy(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1):
        return True
    return False
