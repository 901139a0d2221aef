"""up, down, status: the only sequence of steps."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster import (
    buildah,
    cgroups,
    control_plane,
    go_tools,
    gpus,
    host_packages,
    images,
    mounts,
    network,
    node,
    pki,
    processes,
)
from cluster.kubectl import answers, apply, find
from cluster.places import NODE, PLACES
from cluster.processes import Daemon
from cluster.shell import ClusterError, locked, run, say, succeeds, wait_until

DAEMONS = (
    "kwok", "coredns", "kube-proxy", "kubelet", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd",
    "containerd",
)  # fmt: skip
"""In the order in which they end."""

BOOT = PLACES.run / "boot"
LOCK = PLACES.state.parent / "lock"
DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins/kubelet.sock")


def up(fake_nodes: int = 0, gpus_per_node: int = 8) -> None:
    """Start the cluster, or bring the one that runs up to date.

    Raises:
        ClusterError: if something on this machine stands in the way.
    """
    _need_linux_root()
    host_packages.ensure()
    go_tools.ensure((*go_tools.FOR_THE_NODE, *(("kwok",) if fake_nodes else ())))
    with locked(LOCK):
        if not (_of_this_boot() and network.is_there()):
            _begin()
        network.let_out()
        pki.ensure(PLACES.state / "pki")
        node.write_configs()
        _start(control_plane.etcd(), node.containerd())
        _start(control_plane.api_server())
        wait_until(_containerd_answers, "containerd to answer", 60)
        images.ensure_pause()
        _wait_for_api_server()
        apply(node.DNS_ROLE)
        before = datetime.now(UTC).replace(microsecond=0)
        _start(control_plane.controller_manager(), control_plane.scheduler(), node.kube_proxy(), node.dns())
        # What the API says of the node may still be the word of a kubelet that has died since.
        since = before if _start(node.kubelet()) else None
        wait_until(lambda: _is_ready(since), "the node to become Ready", 120, pause=0.3)
        gpus.advertise(gpus_per_node)
        if fake_nodes:
            _start(gpus.kwok())
        else:
            processes.end(["kwok"])
        gpus.make_fake_nodes(fake_nodes, gpus_per_node)
        wait_until(_has_default_account, "the default service account", 60)
        for name in DAEMONS:
            if fake_nodes or name != "kwok":
                processes.check_alive(name)
    say(f"the cluster is up: KUBECONFIG={PLACES.kubeconfig}")


def _begin() -> None:
    """Clear away what is left of another cluster, and lay the ground for a new one."""
    _need_no_other_kubelet()
    _clear()
    shutil.rmtree(PLACES.log, ignore_errors=True)
    PLACES.run.mkdir(parents=True)
    BOOT.write_text(processes.boot_id())
    cgroups.create()
    network.create()


def down() -> None:
    """End the cluster and everything in it; images and tools stay for the next one."""
    _need_linux_root()
    with locked(LOCK):
        _clear()
        buildah.tidy()
    say("the cluster is down")


def status() -> bool:
    """Print what runs; whether all of it does."""
    alive = {name: processes.record(name) for name in reversed(DAEMONS)}
    for name, known in alive.items():
        print(f"{name:<24} {f'running, pid {known.pid}' if known else 'not running'}")
    complete = all(known for name, known in alive.items() if name != "kwok")
    found = find("node", NODE) if alive["kube-apiserver"] else None
    print(f"node {NODE:<19} {'Ready' if is_ready(found) else 'not Ready'}, {gpus.advertised(found)} GPUs")
    return complete and is_ready(found)


def _need_linux_root() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ClusterError("a local cluster needs root on Linux; elsewhere set KUBECONFIG to a cluster that you have")


def _need_no_other_kubelet() -> None:
    """Two kubelets would fight over a socket whose path no setting reaches."""
    if _listened_to(DEVICE_PLUGINS):
        raise ClusterError(
            f"another kubelet runs on this machine ({DEVICE_PLUGINS}): stop it, or set KUBECONFIG to use its cluster"
        )


def _listened_to(socket: Path) -> bool:
    """Whether a process of the host's network namespace (ours has its own) holds ``socket``."""
    return str(socket) in Path("/proc/net/unix").read_text()


def _of_this_boot() -> bool:
    """Whether the state on disk belongs to a cluster of this boot; a cluster does not outlive a reboot."""
    return BOOT.exists() and BOOT.read_text() == processes.boot_id()


def _start(*daemons: Daemon) -> bool:
    """Start those of ``daemons`` that do not run as they should; whether there was one."""
    started = [daemon.name for daemon in daemons if processes.ensure(daemon, cgroups.daemons())]
    if started:
        say(f"started {', '.join(started)}")
    return bool(started)


def _containerd_answers() -> bool:
    processes.check_alive("containerd")
    return succeeds(*images.ctr("version"))


def _wait_for_api_server() -> None:
    def ready() -> bool:
        processes.check_alive("etcd")
        processes.check_alive("kube-apiserver")
        return answers("/readyz")

    wait_until(ready, "the API server to become ready", 120)


def _is_ready(since: datetime | None) -> bool:
    processes.check_alive("kubelet")
    return is_ready(find("node", NODE), since)


def is_ready(found: dict[str, Any] | None, since: datetime | None = None) -> bool:
    """Whether the node ``found`` is Ready, by a report that is not older than ``since``."""
    if found is None:
        return False
    ready = [condition for condition in found["status"].get("conditions", []) if condition["type"] == "Ready"]
    return any(
        condition["status"] == "True"
        and (since is None or datetime.fromisoformat(condition["lastHeartbeatTime"]) >= since)
        for condition in ready
    )


def _has_default_account() -> bool:
    """Pods are refused until the controller manager has made it."""
    return find("serviceaccount", "default", "--namespace=default") is not None


def _clear() -> None:
    """End whatever is left of a cluster, whole or in pieces, and delete its state; logs, tools and images stay."""
    # What they would tidy up before they end is deleted here anyway.
    processes.end((name for name in DAEMONS if name != "containerd"), seconds=1)
    cgroups.kill("kubepods")
    if processes.record("containerd"):
        _remove_containers()
        processes.end(["containerd"])
    cgroups.kill()
    mounts.undo(PLACES.run, PLACES.state, PLACES.containerd_root)
    cgroups.remove()
    network.remove()
    for path in PLACES.state.glob("*"):
        if path != PLACES.log:
            shutil.rmtree(path)
    _remove_traces()
    shutil.rmtree(PLACES.run, ignore_errors=True)


def _remove_containers() -> None:
    """Take the dead containers out of containerd's store, which outlives the cluster, and end their shims."""
    if tasks := run(*images.ctr("tasks", "list", "--quiet")).split():
        succeeds(*images.ctr("tasks", "delete", "--force", *tasks))
    if containers := run(*images.ctr("containers", "list", "--quiet")).split():
        run(*images.ctr("containers", "delete", *containers))


def _remove_traces() -> None:
    """Delete what the kubelet and the CNI plug-ins put where no setting reaches."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(node.POD_LOGS):
            link.unlink()
    for result in Path("/var/lib/cni/results").glob("*"):
        if str(PLACES.run) in result.read_text():
            result.unlink()
    if not _listened_to(DEVICE_PLUGINS):
        DEVICE_PLUGINS.unlink(missing_ok=True)
