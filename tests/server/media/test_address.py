"""Only public addresses may be connected to, however they are written."""

import ipaddress

import pytest

from omega_server.media.address import literal, permitted

PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:db8::1",
    "2001:0:7f00:1::", "2002:7f00:1::", "2002:a00:1::", "3fff::1", "5f00::1", "fc00::1", "fd00::1", "fe80::1",
    "fe80::1%eth0", "fec0::1", "ff02::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    """Nothing inside, nothing special, nothing that leads inside through IPv6."""
    assert not permitted(address, [])


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    """The internet is permitted."""
    assert permitted(address, [])


def test_allowed() -> None:
    """A listed range is permitted, also through an IPv4-mapped address, and only that range."""
    allowed = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")]
    assert permitted("10.1.2.3", allowed)
    assert permitted("::ffff:10.1.2.3", allowed)
    assert permitted("fd12::1", allowed)
    assert not permitted("10.2.0.1", allowed)
    assert not permitted("::ffff:10.2.0.1", allowed)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "010.0.0.1", "0"])
def test_odd_spellings(host: str) -> None:
    """Spellings that only old resolvers understand are no names."""
    with pytest.raises(ValueError, match=host):
        literal(host)


def test_literal() -> None:
    """Addresses are told from names."""
    assert literal("127.0.0.1") == "127.0.0.1"
    assert literal("::1") == "::1"
    assert literal("example.com") is None
    assert literal("1.2.3.4.example.com") is None
