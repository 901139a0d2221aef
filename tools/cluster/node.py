"""What makes the machine a node: containerd, kubelet, kube-proxy, DNS. Their configuration and command lines."""

from __future__ import annotations

import json
from pathlib import Path

from cluster import cgroups
from cluster.go_tools import binary
from cluster.host_packages import CNI_PLUGINS
from cluster.network import inside
from cluster.places import NODE, NODE_ADDRESS, PLACES, PODS
from cluster.processes import Daemon
from cluster.shell import write_if_changed

PAUSE_IMAGE = "localhost/omega-vlm/pause:1"
PKI = PLACES.state / "pki"
CONFIG = PLACES.state / "config"
CNI_NETWORK = "omega-vlm"
POD_LOGS = PLACES.state / "pod-logs"
CAP_SYS_RESOURCE = 24


def may_raise_priority(status: str) -> bool:
    """Whether the text of /proc/self/status grants CAP_SYS_RESOURCE."""
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> CAP_SYS_RESOURCE & 1)


def containerd_config(restrict_oom_score: bool) -> str:
    """Everything that would go below /run or /var by default goes to our own directories.

    ``restrict_oom_score``: without CAP_SYS_RESOURCE runc cannot lower a process's OOM score, and no pod would start.
    """
    return f"""\
version = 3
root = "{PLACES.containerd_root}"
state = "{PLACES.run / "containerd"}"

[grpc]
address = "{PLACES.containerd_socket}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = {json.dumps(restrict_oom_score)}
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{CNI_PLUGINS}"]
conf_dir = "{CONFIG / "cni"}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
Root = "{PLACES.run / "runc"}"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"
"""


def cni_config() -> dict[str, object]:
    """A link of its own for each pod, and routes: no bridge, hence no bridge netfilter to switch on in the kernel."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": str(PODS)}]], "dataDir": str(PLACES.state / "cni")}
    return {
        "cniVersion": "1.0.0",
        "name": CNI_NETWORK,
        "plugins": [
            {"type": "ptp", "ipMasq": True, "ipam": {**addresses, "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def kubelet_config(resolv_conf: Path) -> dict[str, object]:
    """KubeletConfiguration for any Linux: old cgroups, swap, little free disk."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(NODE_ADDRESS),
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(PKI / "ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": str(PKI / "kubelet.crt"),
        "tlsPrivateKeyFile": str(PKI / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{PLACES.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroups.NAME}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDomain": "cluster.local",
        "clusterDNS": [str(NODE_ADDRESS)],
        "resolvConf": str(resolv_conf),
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(POD_LOGS),
        "volumePluginDir": str(PLACES.state / "volume-plugins"),
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # Images come from archives: one that is collected could not be pulled again.
        "imageGCHighThresholdPercent": 100,
    }


def kube_proxy_config() -> dict[str, object]:
    """KubeProxyConfiguration; the limits of conntrack belong to the host and stay as they are."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(PKI / "proxy.kubeconfig")},
        "clusterCIDR": str(PODS),
        "hostnameOverride": NODE,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": [f"{NODE_ADDRESS}/32"],
        "oomScoreAdj": 0,
        "conntrack": {"maxPerCore": 0, "min": 0},
    }


def dns_config(resolv_conf: Path) -> str:
    """Cluster names from the API server, never cached; every other name from the host's resolvers."""
    return f"""\
cluster.local:53 in-addr.arpa:53 {{
    bind {NODE_ADDRESS}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {PKI / "dns.kubeconfig"}
        fallthrough in-addr.arpa
    }}
}}
.:53 {{
    bind {NODE_ADDRESS}
    errors
    forward . {resolv_conf}
    cache 30
}}
"""


def resolv_conf() -> Path:
    """The file with the host's real resolvers: systemd-resolved's stub address means nothing in our namespace."""
    real = Path("/run/systemd/resolve/resolv.conf")
    return real if real.exists() else Path("/etc/resolv.conf")


def write_configs() -> None:
    """Write every configuration file of the node."""
    restricted = not may_raise_priority(Path("/proc/self/status").read_text())
    files = {
        "containerd.toml": containerd_config(restricted),
        "cni/10-omega-vlm.conflist": json.dumps(cni_config(), indent=2),
        "kubelet.json": json.dumps(kubelet_config(resolv_conf()), indent=2),
        "kube-proxy.json": json.dumps(kube_proxy_config(), indent=2),
        "Corefile": dns_config(resolv_conf()),
    }
    for name, text in files.items():
        write_if_changed(CONFIG / name, text)  # kube-proxy ends when its file is written, even with the same text


def containerd() -> Daemon:
    """Runs containers, with its shim found through PATH."""
    config = CONFIG / "containerd.toml"
    path = f"PATH={binary('containerd').parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    command = inside("env", path, binary("containerd"), "--config", config, "--log-level", "warn")
    return Daemon("containerd", command, (config, CONFIG / "cni/10-omega-vlm.conflist"))


def kubelet() -> Daemon:
    """Turns pods into containers."""
    config, kubeconfig = CONFIG / "kubelet.json", PKI / "kubelet.kubeconfig"
    command = inside(
        binary("kubelet"),
        f"--config={config}",
        f"--kubeconfig={kubeconfig}",
        f"--root-dir={PLACES.state / 'kubelet'}",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_ADDRESS}",
    )
    return Daemon("kubelet", command, (config, kubeconfig, PKI / "ca.crt", PKI / "kubelet.crt"))


def kube_proxy() -> Daemon:
    """Makes services reachable, from pods and, by the host's route, from the host."""
    config = CONFIG / "kube-proxy.json"
    command = inside(binary("kube-proxy"), f"--config={config}")
    return Daemon("kube-proxy", command, (config, PKI / "proxy.kubeconfig"))


def dns() -> Daemon:
    """Answers pods on the node's address."""
    config = CONFIG / "Corefile"
    return Daemon("coredns", inside(binary("coredns"), "-conf", config), (config, PKI / "dns.kubeconfig"))


DNS_ROLE = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "omega-vlm-dns"},
            "rules": [
                {"apiGroups": [""], "resources": ["namespaces", "services"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "omega-vlm-dns"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "omega-vlm-dns"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}],
        },
    ],
}
"""What DNS may read."""
