"""A network namespace for all daemons and pods, joined to the host by one link and three routes.

Everything that Kubernetes does to a network (addresses, interfaces, iptables chains, listening ports) happens in the
namespace and goes away with it. Nothing listens on an address that other machines can reach. The host gets routes to
the node, the pods and the services, and translates the addresses of what pods send further out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network
from pathlib import Path

from cluster.places import HOST_ADDRESS, LINK, NODE_ADDRESS, PLACES, PODS, SERVICES
from cluster.shell import ClusterError, run, succeeds

HOST_INTERFACE = "omega-host"
NODE_INTERFACE = "omega-node"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
FORWARDING_BEFORE = PLACES.run / "ip_forward.before"

MARK = ("-m", "comment", "--comment", "omega-vlm")
RULES = (
    ("nat", "POSTROUTING", ("-s", str(LINK), "!", "-o", HOST_INTERFACE, *MARK, "-j", "MASQUERADE")),
    ("filter", "FORWARD", ("-i", HOST_INTERFACE, *MARK, "-j", "ACCEPT")),
    ("filter", "FORWARD", ("-o", HOST_INTERFACE, *MARK, "-j", "ACCEPT")),
)
"""Table, chain and rule of what the host is told."""


def inside(*command: str | Path) -> tuple[str, ...]:
    """``command``, to be run in the cluster's namespace; it keeps its process id."""
    return ("nsenter", f"--net={PLACES.network_namespace}", *(str(word) for word in command))


def overlapping(routes: Iterable[dict[str, str]]) -> list[str]:
    """Destinations among ``routes`` (as ``ip -json route`` gives them) that our networks would hide."""
    ours = (LINK, PODS, SERVICES)
    foreign = (route for route in routes if route["dst"] != "default" and route.get("dev") != HOST_INTERFACE)
    return [route["dst"] for route in foreign if any(_network(route["dst"]).overlaps(network) for network in ours)]


def _network(destination: str) -> IPv4Network:
    network = ip_network(destination, strict=False)
    assert isinstance(network, IPv4Network), "ip -4 lists nothing else"
    return network


def is_there() -> bool:
    """Whether the namespace exists and the last step of ``create`` towards it was taken."""
    return _is_mounted() and str(SERVICES) in run("ip", "-4", "route")


def create() -> None:
    """Make the namespace and the way to it.

    Raises:
        ClusterError: if the host already has a route into one of our networks.
    """
    if taken := overlapping(json.loads(run("ip", "-4", "-json", "route"))):
        raise ClusterError(
            f"this machine already routes {', '.join(taken)}, which overlaps the cluster's {LINK}, {PODS} or {SERVICES}"
        )
    PLACES.network_namespace.touch()
    run("unshare", f"--net={PLACES.network_namespace}", "true")
    run(*inside("ip", "link", "set", "lo", "up"))
    run(*inside("ip", "link", "add", NODE_INTERFACE, "type", "veth", "peer", HOST_INTERFACE, "netns", str(os.getpid())))
    run(*inside("ip", "address", "add", f"{NODE_ADDRESS}/{LINK.prefixlen}", "dev", NODE_INTERFACE))
    run(*inside("ip", "link", "set", NODE_INTERFACE, "up"))
    run("ip", "address", "add", f"{HOST_ADDRESS}/{LINK.prefixlen}", "dev", HOST_INTERFACE)
    run("ip", "link", "set", HOST_INTERFACE, "up")
    run(*inside("ip", "route", "add", "default", "via", str(HOST_ADDRESS)))
    run(*inside("sh", "-c", f"echo 1 > {FORWARDING}"))
    for network in (PODS, SERVICES):
        run("ip", "route", "add", str(network), "via", str(NODE_ADDRESS))


def let_out() -> None:
    """Have the host pass on what pods send further out; a firewall that starts anew forgets that."""
    if FORWARDING.read_text().strip() == "0":
        FORWARDING_BEFORE.write_text(FORWARDING.read_text())
        FORWARDING.write_text("1")
    for table, chain, rule in RULES:
        if not succeeds("iptables", "-w", "-t", table, "-C", chain, *rule):
            run("iptables", "-w", "-t", table, "-I", chain, *rule)


def _is_mounted() -> bool:
    return any(line.split()[4] == str(PLACES.network_namespace) for line in _mountinfo())


def _mountinfo() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def remove() -> None:
    """Undo ``create`` and ``let_out``, and as much of them as was done."""
    for table, chain, rule in RULES:
        while succeeds("iptables", "-w", "-t", table, "-D", chain, *rule):
            pass
    if succeeds("ip", "link", "show", "dev", HOST_INTERFACE):
        run("ip", "link", "delete", HOST_INTERFACE)
    if FORWARDING_BEFORE.exists():
        FORWARDING.write_text(FORWARDING_BEFORE.read_text())
        FORWARDING_BEFORE.unlink()
    if _is_mounted():
        run("umount", PLACES.network_namespace)
    PLACES.network_namespace.unlink(missing_ok=True)
