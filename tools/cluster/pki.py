"""Certificates and kubeconfigs: one authority, one certificate for each daemon, renewed together before they expire."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from cluster.places import API_SERVER, KUBERNETES_SERVICE, NODE, NODE_ADDRESS
from cluster.shell import run, succeeds

DAYS = 90
RENEW_WITHIN_DAYS = 14


@dataclass(frozen=True)
class Identity:
    """Whom a certificate names."""

    name: str
    """File name without its ending."""
    user: str
    group: str = ""
    hosts: tuple[str, ...] = ()
    """Names and addresses it serves under: DNS:... or IP:..."""

    @property
    def subject(self) -> str:
        """In openssl's syntax."""
        return (f"/O={self.group}" if self.group else "") + f"/CN={self.user}"

    @property
    def extensions(self) -> str:
        """In openssl's syntax; as complete as RFC 5280 asks, because clients of Python 3.13 insist on it."""
        return "\n".join(
            (
                "basicConstraints=critical,CA:FALSE",
                "keyUsage=critical,digitalSignature",
                "subjectKeyIdentifier=hash",
                "authorityKeyIdentifier=keyid",
                f"extendedKeyUsage={'serverAuth,clientAuth' if self.hosts else 'clientAuth'}",
                *(("subjectAltName=" + ",".join(self.hosts),) if self.hosts else ()),
            )
        )


API_SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)

SERVERS = (
    Identity(
        "apiserver",
        "kube-apiserver",
        hosts=(
            *(f"DNS:{name}" for name in API_SERVER_NAMES),
            *(f"IP:{address}" for address in (NODE_ADDRESS, KUBERNETES_SERVICE, "127.0.0.1")),
        ),
    ),
)

CLIENTS = (
    Identity("admin", "admin", "system:masters"),
    Identity("kubelet", f"system:node:{NODE}", "system:nodes", (f"DNS:{NODE}", f"IP:{NODE_ADDRESS}")),
    Identity("controller-manager", "system:kube-controller-manager"),
    Identity("scheduler", "system:kube-scheduler"),
    Identity("proxy", "system:kube-proxy"),
    Identity("dns", "system:coredns"),
)


def ensure(directory: Path) -> None:
    """Make every file of ``directory`` unless all of them are there and not about to expire."""
    if _valid(directory):
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    _key(directory / "ca.key")
    run(
        "openssl", "req", "-x509", "-new", "-days", str(DAYS), "-subj", "/CN=omega-vlm-cluster",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-key", directory / "ca.key", "-out", directory / "ca.crt",
    )  # fmt: skip
    _key(directory / "service-accounts.key")
    run(
        "openssl",
        "pkey",
        "-in",
        directory / "service-accounts.key",
        "-pubout",
        "-out",
        directory / "service-accounts.pub",
    )
    for identity in (*SERVERS, *CLIENTS):
        _certify(directory, identity)
    for identity in CLIENTS:
        path = directory / f"{identity.name}.kubeconfig"
        path.write_text(kubeconfig(directory, identity.name))
        path.chmod(0o600)


def _valid(directory: Path) -> bool:
    seconds = str(RENEW_WITHIN_DAYS * 24 * 3600)
    certificates = [directory / f"{name}.crt" for name in ("ca", *(identity.name for identity in (*SERVERS, *CLIENTS)))]
    return all(
        path.exists() and succeeds("openssl", "x509", "-in", path, "-noout", "-checkend", seconds)
        for path in certificates
    )


def _key(path: Path) -> None:
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    path.chmod(0o600)


def _certify(directory: Path, identity: Identity) -> None:
    key = directory / f"{identity.name}.key"
    _key(key)
    request = run("openssl", "req", "-new", "-key", key, "-subj", identity.subject)
    extensions = directory / f"{identity.name}.extensions"
    extensions.write_text(identity.extensions)
    run(
        "openssl", "x509", "-req", "-days", str(DAYS), "-CA", directory / "ca.crt", "-CAkey", directory / "ca.key",
        "-CAcreateserial", "-extfile", extensions, "-out", directory / f"{identity.name}.crt", stdin=request,
    )  # fmt: skip
    extensions.unlink()


def kubeconfig(directory: Path, name: str) -> str:
    """A kubeconfig with everything inside, so that it can be copied. JSON is YAML."""
    authority, certificate, key = (
        base64.b64encode((directory / file).read_bytes()).decode() for file in ("ca.crt", f"{name}.crt", f"{name}.key")
    )
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "omega-vlm",
                    "cluster": {"server": API_SERVER, "certificate-authority-data": authority},
                }
            ],
            "users": [
                {
                    "name": name,
                    "user": {"client-certificate-data": certificate, "client-key-data": key},
                }
            ],
            "contexts": [{"name": "omega-vlm", "context": {"cluster": "omega-vlm", "user": name}}],
            "current-context": "omega-vlm",
        },
        indent=2,
    )
