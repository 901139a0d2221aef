"""What the cluster reads from the host: cgroups, mounts, routes, privileges, certificates."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster import cgroups, gpus, lifecycle, mounts, network, node, pki
from cluster.places import Places

HYBRID = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
"""


def test_hybrid_cgroups() -> None:
    """Each controller of version 1 is found at its mount, version 2 beside them."""
    assert cgroups.hierarchies(HYBRID) == {
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "pids": Path("/sys/fs/cgroup/pids"),
        "": Path("/sys/fs/cgroup/unified"),
    }


def test_unified_cgroups() -> None:
    """With version 2 alone there is one hierarchy."""
    assert cgroups.hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n") == {"": Path("/sys/fs/cgroup")}


def test_inner_mounts_come_first() -> None:
    """Mounts are undone in the reverse of their order; names with blanks are understood, neighbours left alone."""
    lines = ("/run/omega-vlm", "/run/omega-vlm/a\\040b", "/run/omega-vlm-other", "/home")
    info = "\n".join(f"1 1 0:1 / {point} rw - tmpfs tmpfs rw" for point in lines)
    found = mounts.below(info, [Path("/run/omega-vlm")])
    assert found == [Path("/run/omega-vlm/a b"), Path("/run/omega-vlm")]


def test_overlapping_routes_are_found() -> None:
    """A route into our networks is in the way, unless it is our own or the default route."""
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "10.244.0.0/16", "dev": network.HOST_INTERFACE},
        {"dst": "10.0.0.0/8", "dev": "vpn"},
        {"dst": "10.96.7.1", "dev": "vpn"},
        {"dst": "192.0.2.0/24", "dev": "eth0"},
    ]
    assert network.overlapping(routes) == ["10.0.0.0/8", "10.96.7.1"]


@pytest.mark.parametrize(("capabilities", "may"), [("000001fffeffffff", False), ("000001ffffffffff", True)])
def test_missing_privilege_is_noticed(capabilities: str, may: bool) -> None:
    """CAP_SYS_RESOURCE is bit 24 of the effective capabilities; without it containerd must not lower OOM scores."""
    assert node.may_raise_priority(f"Name:\tx\nCapEff:\t{capabilities}\n") is may
    assert f"restrict_oom_score_adj = {'false' if may else 'true'}" in node.containerd_config(not may)


def test_places_follow_the_environment() -> None:
    """The XDG variables move cache and state; without them both are below HOME."""
    moved = Places.of({"HOME": "/h", "XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"})
    assert (moved.cache, moved.state) == (Path("/c/omega-vlm"), Path("/s/omega-vlm/cluster"))
    assert Places.of({"HOME": "/h"}).cache == Path("/h/.cache/omega-vlm")


def test_only_our_namespace_is_served() -> None:
    """Nothing of the node listens on every address."""
    texts = [
        json.dumps(node.kubelet_config(Path("/r"))),
        json.dumps(node.kube_proxy_config()),
        node.dns_config(Path("/r")),
    ]
    assert not any("0.0.0.0:" in text for text in texts)
    assert node.kubelet_config(Path("/r"))["address"] == "10.245.0.1"


def test_advertised_gpus() -> None:
    """A node that is not there, or says nothing, has no GPUs."""
    assert gpus.advertised(None) == 0
    assert gpus.advertised({"status": {}}) == 0
    assert gpus.advertised(gpus.fake_node("fake-0", 8)) == 8


def test_an_old_report_does_not_make_a_node_ready() -> None:
    """What a kubelet said before it was started anew does not count."""
    condition = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T12:00:00Z"}
    found = {"status": {"conditions": [condition]}}
    assert lifecycle.is_ready(found)
    assert lifecycle.is_ready(found, datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC))
    assert not lifecycle.is_ready(found, datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC))
    assert not lifecycle.is_ready({"status": {"conditions": [{**condition, "status": "Unknown"}]}})
    assert not lifecycle.is_ready({"status": {}})
    assert not lifecycle.is_ready(None)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")
def test_certificates_are_kept_until_they_are_about_to_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made once, signed by our authority, and made anew when too little time is left."""
    directory = tmp_path / "pki"
    pki.ensure(directory)
    authority = (directory / "ca.crt").read_bytes()
    for name in ("apiserver", "kubelet", "admin"):
        subprocess.run(
            ["openssl", "verify", "-x509_strict", "-CAfile", directory / "ca.crt", directory / f"{name}.crt"],
            check=True,
            capture_output=True,
        )
    config = json.loads((directory / "admin.kubeconfig").read_text())
    assert base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]) == authority
    assert all(path.stat().st_mode & 0o077 == 0 for path in (directory, *directory.glob("*.k*")))
    pki.ensure(directory)
    assert (directory / "ca.crt").read_bytes() == authority
    monkeypatch.setattr(pki, "RENEW_WITHIN_DAYS", pki.DAYS + 1)
    pki.ensure(directory)
    assert (directory / "ca.crt").read_bytes() != authority
