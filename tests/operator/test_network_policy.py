"""What the NetworkPolicies let through."""

import ipaddress
import random
from collections.abc import Callable
from typing import Any

import pytest

from omega_operator.desired import desired
from omega_operator.observed import Observed
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment
from omega_server.media.address import permitted

Json = dict[str, Any]
Policies = Callable[..., dict[str, Json]]


@pytest.fixture
def policies(resource: Callable[..., OmegaVLMDeployment], settings: Settings) -> Policies:
    """The specs of the policies of a resource, by their names."""

    def make(**spec: Any) -> dict[str, Json]:
        manifests = desired(resource(**spec), Observed(), settings).manifests
        return {one["metadata"]["name"]: one["spec"] for one in manifests if one["kind"] == "NetworkPolicy"}

    return make


def passes(policy: Json, address: str) -> bool:
    """Whether a TCP connection to some port of an address outside the cluster is let out."""
    ip = ipaddress.ip_address(address)
    blocks = [
        peer["ipBlock"]
        for rule in policy["egress"]
        if {"protocol": "TCP"} in rule.get("ports", [{"protocol": "TCP"}])
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    return any(
        ip in ipaddress.ip_network(block["cidr"])
        and not any(ip in ipaddress.ip_network(one) for one in block.get("except", ()))
        for block in blocks
    )


def addresses() -> list[str]:
    """The edges of every range that is special to anybody, and others at random."""
    special = (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
        "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
        "::/128 ::1/128 64:ff9b::/96 64:ff9b:1::/48 100::/64 2000::/3 2001::/23 2001:db8::/32 3fff::/20 5f00::/16 fc00::/7 "
        "fe80::/10 ff00::/8"
    )
    edges = []
    for network in map(ipaddress.ip_network, special.split()):
        first, last = int(network.network_address), int(network.broadcast_address)
        most = 2**network.max_prefixlen - 1
        edges += [
            str(type(network.network_address)(one)) for one in (first - 1, first, last, last + 1) if 0 <= one <= most
        ]
    chance = random.Random(7)
    return edges + [str(ipaddress.IPv4Address(chance.getrandbits(32))) for _ in range(500)]


@pytest.mark.parametrize("allowed", [[], ["10.20.0.0/16", "fd00::/8"]], ids=["public", "with ranges"])
def test_pictures_come_from_where_the_server_may_fetch_them(policies: Policies, allowed: list[str]) -> None:
    """The policy lets out to an address if, and only if, the server itself would connect to it."""
    policy = policies(images={"allowedCidrs": allowed})["vl"]
    networks = [ipaddress.ip_network(one) for one in allowed]
    tried = [*addresses(), "10.20.0.0", "10.20.255.255", "10.21.0.0", "fd12::1"]
    assert [one for one in tried if passes(policy, one)] == [one for one in tried if permitted(one, networks)]
    assert sum(passes(policy, one) for one in tried) > 100


def test_nothing_goes_out_without_remote_pictures(policies: Policies) -> None:
    """A server that fetches nothing asks nobody, not even for a name."""
    assert policies(images={"allowRemote": False})["vl"]["egress"] == []


def test_more_destinations(policies: Policies) -> None:
    """What the resource adds is let out to on every port, with names, and nothing else is."""
    collector = {"namespaceSelector": {"matchLabels": {"team": "traces"}}}
    names, added = policies(images={"allowRemote": False}, networkPolicy={"to": [collector]})["vl"]["egress"]
    assert {(one["port"], one["protocol"]) for one in names["ports"]} >= {(53, "UDP"), (53, "TCP")}
    assert added == {"to": [collector]}


def test_the_hub_is_for_downloads_only(policies: Policies) -> None:
    """A download reaches public addresses though the server may not, and the operator alone reaches the download."""
    made = policies(
        model={"source": "hf://Org/Model", "cache": {"size": "1Gi"}},
        images={"allowRemote": False},
        networkPolicy={"from": [{"podSelector": {}}]},
    )
    assert set(made) == {"vl", "vl-download"}
    assert not passes(made["vl"], "1.1.1.1")
    assert passes(made["vl-download"], "1.1.1.1")
    assert not passes(made["vl-download"], "10.0.0.1")
    (rule,) = made["vl-download"]["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "operator"}
    assert rule["ports"] == [{"port": 8000, "protocol": "TCP"}]
    selectors = [one["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for one in made.values()]
    assert sorted(selectors) == ["download", "server"]


def test_who_reads_metrics_comes_in(policies: Policies) -> None:
    """Beside named sources the operator comes in, and Prometheus and KEDA to a resource that is for them to read."""
    sources = [{"podSelector": {"matchLabels": {"app": "client"}}}]

    def namespaces(**spec: Any) -> list[str]:
        (rule,) = policies(networkPolicy={"from": sources}, **spec)["vl"]["ingress"]
        assert rule["from"][0] == sources[0]
        assert rule["ports"] == [{"port": 8000, "protocol": "TCP"}]
        return [one["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for one in rule["from"][1:]]

    assert namespaces() == ["omega-system"]
    assert namespaces(monitoring={"podMonitor": True}) == ["omega-system", "monitoring"]
    assert namespaces(autoscaling={"maxReplicas": 2}) == ["omega-system", "monitoring"]
