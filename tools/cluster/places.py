"""Where the cluster keeps what it makes, and which addresses it takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Places:
    """Three directories, by how long their content lives."""

    cache: Path
    """Survives everything: tools, images."""
    state: Path
    """Lives as long as a cluster: etcd, certificates, pods. Logs stay until the next one."""
    run: Path
    """Lives as long as a boot: process records, sockets, the network namespace. One cluster per machine."""

    @classmethod
    def of(cls, environment: dict[str, str]) -> Places:
        """The places that the XDG variables in ``environment`` name."""
        home = Path(environment.get("HOME") or "/root")
        cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
        state = Path(environment.get("XDG_STATE_HOME") or home / ".local/state")
        return cls(cache / "omega-vlm", state / "omega-vlm/cluster", Path("/run/omega-vlm"))

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state / "pki/admin.kubeconfig"

    @property
    def log(self) -> Path:
        """One file per daemon."""
        return self.state / "log"

    @property
    def containerd_socket(self) -> Path:
        """Absolute, as ctr and the kubelet want it."""
        return self.run / "containerd.sock"

    @property
    def containerd_root(self) -> Path:
        """Images: in the cache, so that a second start need not import them again."""
        return self.cache / "containerd"

    @property
    def network_namespace(self) -> Path:
        """Handle of the namespace that all daemons and pods live in."""
        return self.run / "network"


PLACES = Places.of(dict(os.environ))

NODE = "omega"
LINK = IPv4Network("10.245.0.0/30")
NODE_ADDRESS = IPv4Address("10.245.0.1")
HOST_ADDRESS = IPv4Address("10.245.0.2")
PODS = IPv4Network("10.244.0.0/16")
SERVICES = IPv4Network("10.96.0.0/16")
KUBERNETES_SERVICE = SERVICES[1]
API_SERVER = f"https://{NODE_ADDRESS}:6443"
