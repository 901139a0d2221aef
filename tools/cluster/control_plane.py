"""etcd, API server, controller manager, scheduler: their command lines."""

from __future__ import annotations

from cluster.go_tools import binary
from cluster.network import inside
from cluster.places import NODE_ADDRESS, PLACES, SERVICES
from cluster.processes import Daemon

PKI = PLACES.state / "pki"
ETCD = "http://127.0.0.1:2379"
"""Loopback of the cluster's own namespace: no one on the host can reach it."""


def etcd() -> Daemon:
    """The store; it need not survive a power cut, so it does not wait for the disk."""
    return _daemon(
        "etcd",
        f"--data-dir={PLACES.state / 'etcd'}",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )


def api_server() -> Daemon:
    """Listens on the node's address, and so pods find it behind the Service ``kubernetes``."""
    return _daemon(
        "kube-apiserver",
        f"--etcd-servers={ETCD}",
        f"--bind-address={NODE_ADDRESS}",
        f"--advertise-address={NODE_ADDRESS}",
        "--secure-port=6443",
        f"--tls-cert-file={PKI / 'apiserver.crt'}",
        f"--tls-private-key-file={PKI / 'apiserver.key'}",
        f"--client-ca-file={PKI / 'ca.crt'}",
        f"--kubelet-certificate-authority={PKI / 'ca.crt'}",
        f"--kubelet-client-certificate={PKI / 'admin.crt'}",
        f"--kubelet-client-key={PKI / 'admin.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={PKI / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={PKI / 'service-accounts.key'}",
        f"--service-cluster-ip-range={SERVICES}",
        inputs=("ca.crt", "apiserver.crt", "admin.crt", "service-accounts.pub"),
    )


def controller_manager() -> Daemon:
    """The built-in controllers; no election, as it is the only one."""
    kubeconfig = PKI / "controller-manager.kubeconfig"
    return _daemon(
        "kube-controller-manager",
        f"--kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials",
        "--horizontal-pod-autoscaler-sync-period=5s",  # a third of the default: somebody watches
        f"--root-ca-file={PKI / 'ca.crt'}",
        f"--service-account-private-key-file={PKI / 'service-accounts.key'}",
        f"--cluster-signing-cert-file={PKI / 'ca.crt'}",
        f"--cluster-signing-key-file={PKI / 'ca.key'}",
        inputs=("ca.crt", kubeconfig.name, "service-accounts.pub"),
    )


def scheduler() -> Daemon:
    """Places pods."""
    kubeconfig = PKI / "scheduler.kubeconfig"
    return _daemon(
        "kube-scheduler",
        f"--kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        inputs=(kubeconfig.name,),
    )


def _daemon(name: str, *arguments: str, inputs: tuple[str, ...] = ()) -> Daemon:
    return Daemon(name, inside(binary(name), *arguments), tuple(PKI / file for file in inputs))
