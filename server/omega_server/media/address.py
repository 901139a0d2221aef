"""Which network addresses may be connected to: by default only public ones."""

import ipaddress
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Older Pythons call some of these global: protocol assignments, benchmarking, relays, documentation.
_NEVER = [
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
    )
]
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def permitted(address: str, allowed: Iterable[Network]) -> bool:
    """Whether a connection to an address may be made.

    Args:
        address: a literal address, perhaps with a zone.
        allowed: ranges that are permitted although they are not public.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    faces = [ip, *_embedded(ip)]
    if any(face.version == network.version and face in network for network in allowed for face in faces[-1:]):
        return True
    return all(_public(face) for face in faces)


def literal(host: str) -> str | None:
    """The address that a host name literally is, or None if it is a name.

    Raises:
        ValueError: it is an address in one of the odd old spellings (127.1, 0x7f000001, 2130706433), which nobody sends
            with good intent.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        socket.inet_aton(host)
    except OSError:
        return None
    raise ValueError(host)


def _embedded(ip: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """IPv4 addresses that an IPv6 address may end up at."""
    if isinstance(ip, IPv4Address):
        return []
    low = IPv4Address(int(ip) & 0xFFFFFFFF)
    found = [low] if any(ip in network for network in (*_NAT64, _COMPATIBLE)) else []
    found += [ip.ipv4_mapped] if ip.ipv4_mapped else []
    found += [ip.sixtofour] if ip.sixtofour else []
    return found + list(ip.teredo or ())


def _public(ip: IPv4Address | IPv6Address) -> bool:
    if any(ip.version == network.version and ip in network for network in _NEVER):
        return False
    if isinstance(ip, IPv6Address) and ip not in _UNICAST_V6:
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved
