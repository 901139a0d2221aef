"""No address leads inside: whatever is asked for, and wherever it redirects, nothing that is not public is connected to.

Canaries listen on loopback, on a second address of it, on its IPv6 address and on this machine's own address, all on one port.
Names are resolved by a DNS server of our own, whose answers change from one question to the next. 127.0.0.9 stands for a
public address: it is permitted by `allowedCidrs`, and serves redirects.
"""

import asyncio
import ipaddress
import select
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from omega_schema.resource import Images
from omega_server.media.errors import MediaError
from omega_server.media.fetch import a_picture, fetch

OUTSIDE = "127.0.0.9"
IMAGES = Images(allowed_cidrs=[f"{OUTSIDE}/32"], fetch_timeout="2s")
FAILED = ("failed_to_download_image", "The picture could not be downloaded.")

ADDRESSES = [
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1",
    "0X7F.1", "0177.0.0.1", "017700000001", "0177.0.0.01", "0", "0.0.0.0", "0.0.0.0.", "127.0.0.0x1",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]",
    "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]",
    "[2001:0:7f00:1::]", "[fe80::1]", "[fe80::1%25lo]", "[fd00::1]", "[fc00::1]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]",
    "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "[100::1]", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "169.254.169.254", "2852039166", "0xa9fea9fe", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1",
    "198.18.0.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "\uff11\uff12\uff17.0.0.1",
    "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "127\u30020\u30020\u30021", "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "SELF",
]  # fmt: skip
"""Hosts that are addresses, in all kinds of spellings; SELF is this machine's own."""
ODD = [
    "http://ok.test\\@127.0.0.1:PORT/", "http://127.0.0.1:PORT\\@ok.test/", "http://ok.test@127.0.0.1:PORT/",
    "http://ok.test:80@127.0.0.1:PORT/", "http://ok.test:80%40127.0.0.1:PORT/", "http://127.0.0.1:PORT\t/",
    "http://127.0.0.1:PORT/\r\nHost: ok.test", "http://127.0.0.1%0d%0aX:PORT/", "http://127.0.0.1 :PORT/",
    " http://127.0.0.1:PORT/", "http:127.0.0.1:PORT/", "http:///127.0.0.1:PORT/", "http:/127.0.0.1:PORT/",
    "http:\\\\127.0.0.1:PORT\\", "//127.0.0.1:PORT/", "http://[::1:PORT/", "http://[127.0.0.1]:PORT/",
    "http://127.0.0.1:PORT:80/", "http://127.0.0.1:PORT#@ok.test/", "http://127.0.0.1:PORT?@ok.test/",
    "HTTP://127.0.0.1:PORT/", "https://127.0.0.1:PORT/", "file:///etc/passwd", "file://127.0.0.1:PORT/", "ftp://127.0.0.1:PORT/",
    "gopher://127.0.0.1:PORT/_GET", "dict://127.0.0.1:PORT/", "ldap://127.0.0.1:PORT/", "tftp://127.0.0.1:PORT/",
    "unix:///var/run/docker.sock", "jar:http://127.0.0.1:PORT/!/", "view-source:http://127.0.0.1:PORT/",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/", "http://127.0.0.1\x00.ok.test:PORT/", "ws://127.0.0.1:PORT/",
]  # fmt: skip
"""Addresses that one parser may read otherwise than another."""
NAMES: dict[str, list[list[str]]] = {
    "loop.test": [["127.0.0.1"]],
    "second.test": [["127.0.0.2"]],
    "six.test": [["::1"]],
    "mapped.test": [["::ffff:127.0.0.1"]],
    "translated.test": [["64:ff9b::7f00:1"]],
    "tunnel.test": [["2002:7f00:1::"]],
    "kubernetes.default.svc": [["10.96.0.1"]],
    "metadata.google.internal": [["169.254.169.254"]],
    "unique.test": [["fd00::1"]],
    "zero.test": [["0.0.0.0"]],
    "both.test": [[OUTSIDE, "127.0.0.1"]],
    "both-other-way.test": [["127.0.0.1", OUTSIDE]],
    "mixed-families.test": [[OUTSIDE, "::1"]],
    "self.test": [["SELF"]],
    "nowhere.test": [[]],
    "xn--nowhere-.test": [[]],
    "127.0.0.1.loop.test": [["127.0.0.1"]],
}
"""Names, and what the DNS server says to each question about them in turn; the last answer stays."""


def own_address() -> str:
    """An address of this machine that is not loopback, or a second one of loopback if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.4"
        return str(probe.getsockname()[0])


SELF = own_address()


class Canaries:
    """Listeners that nobody should connect to.

    Attributes:
        port: of all of them.
    """

    def __init__(self) -> None:
        places = [("127.0.0.2", socket.AF_INET), (SELF, socket.AF_INET), ("::1", socket.AF_INET6)]
        self._listeners = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._listeners[0].getsockname()[1]
        for host, family in places:
            if family == socket.AF_INET or socket.has_ipv6:
                self._listeners.append(socket.create_server((host, self.port), family=family))

    def sang(self) -> bool:
        """Whether any of them has been connected to."""
        return bool(select.select(self._listeners, [], [], 0)[0])

    def close(self) -> None:
        """Listen no more."""
        for listener in self._listeners:
            listener.close()


@pytest.fixture(scope="module")
def canaries() -> Iterator[Canaries]:
    """One set for all vectors."""
    made = Canaries()
    yield made
    assert not made.sang()
    made.close()


class Names(asyncio.DatagramProtocol):
    """A DNS server for A and AAAA records, with answers that change.

    Attributes:
        answers: of each name, in turn.
        asked: names that it was asked for.
    """

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers = {name: list(turns) for name, turns in answers.items()}
        self.asked: list[str] = []

    def connection_made(self, transport: Any) -> None:
        """Remember where answers go."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        name, at = read_name(data, 12)
        (kind,) = struct.unpack_from(">H", data, at)
        records = [ipaddress.ip_address(text) for text in self._answer(name, kind)]
        head = data[:2] + struct.pack(">HHHHH", 0x8180 if records else 0x8183, 1, len(records), 0, 0)
        body = b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(record.packed)) + record.packed for record in records
        )
        self._transport.sendto(head + data[12 : at + 4] + body, addr)

    def _answer(self, name: str, kind: int) -> list[str]:
        turns = self.answers.get(name, [[]])
        found = [SELF if text == "SELF" else text for text in turns[0]]
        if kind == 28:  # the second question about a name: the next time, the next answer
            self.asked.append(name)
            if len(turns) > 1:
                turns.pop(0)
        return [text for text in found if (":" in text) == (kind == 28)]


def read_name(data: bytes, at: int) -> tuple[str, int]:
    """A name in a DNS message, and where it ends."""
    labels = []
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode())
        at += 1 + data[at]
    return ".".join(labels), at + 1


class Query(asyncio.DatagramProtocol):
    """One question on its way."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """The answer."""
        self.answer.set_result(data)


async def look_up(server: tuple[str, int], name: str, kind: int) -> list[str]:
    """Ask a DNS server, over UDP."""
    transport, query = await asyncio.get_running_loop().create_datagram_endpoint(Query, remote_addr=server)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    transport.sendto(struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1))
    data = await query.answer
    transport.close()
    _, at = read_name(data, 12)
    at += 4
    found = []
    for _ in range(struct.unpack_from(">H", data, 6)[0]):
        (length,) = struct.unpack_from(">H", data, at + 10)
        found.append(str(ipaddress.ip_address(data[at + 12 : at + 12 + length])))
        at += 12 + length
    return found


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Names]:
    """The DNS server; this process resolves names there, each time anew, and keeps nothing."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: Names(NAMES), local_addr=("127.0.0.1", 0))
    place = transport.get_extra_info("sockname")
    resolve = loop.getaddrinfo

    async def getaddrinfo(host: str, port: int, **options: Any) -> Any:
        if "localhost" in host:
            return await resolve(host, port, **options)
        found = [*await look_up(place, host.rstrip("."), 1), *await look_up(place, host.rstrip("."), 28)]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in text else socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port))
            for text in found
        ]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    yield server
    transport.close()


@pytest.fixture
async def outside(canaries: Canaries) -> AsyncIterator[list[str]]:
    """A site on what stands for a public address, on the canaries' port: the hosts that it was asked as."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.host)
        if "to" in request.query:
            return web.Response(status=302, headers={"Location": request.query["to"]})
        return web.Response(body=b"picture", content_type="image/png")

    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, OUTSIDE, canaries.port).start()
    yield asked
    await runner.cleanup()


async def refusal(address: str) -> tuple[str, str]:
    """Code and message with which an address is refused."""
    with pytest.raises(MediaError) as caught:
        await fetch(address, a_picture(IMAGES), bare=True)
    return caught.value.code, str(caught.value)


async def through_a_redirect(canaries: Canaries, address: str) -> tuple[str, str]:
    """The same for an address to which a public site redirects."""
    first = str(URL(f"http://{OUTSIDE}:{canaries.port}/").with_query(to=address))
    with pytest.raises(MediaError) as caught:
        await fetch(first, a_picture(IMAGES), bare=False)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("host", ADDRESSES)
@pytest.mark.usefixtures("names")
async def test_addresses(canaries: Canaries, outside: list[str], host: str) -> None:
    """An address that is not public is refused as such when it is asked for, and as any failure behind a redirect."""
    address = f"http://{host.replace('SELF', SELF)}:{canaries.port}/a.png"
    code, message = await refusal(address)
    assert code == "invalid_image_url"
    assert "127" not in message
    assert await through_a_redirect(canaries, address) == FAILED
    assert not canaries.sang()
    assert len(outside) == 1


@pytest.mark.parametrize("address", ODD)
@pytest.mark.usefixtures("names")
async def test_odd_addresses(canaries: Canaries, outside: list[str], address: str) -> None:
    """An address that could be read in two ways is read in none; behind a redirect it may at most be a path."""
    address = address.replace("PORT", str(canaries.port))
    assert (await refusal(address))[0] == "invalid_image_url"
    assert outside == []
    if address.isprintable():  # a server cannot send the others
        first = str(URL(f"http://{OUTSIDE}:{canaries.port}/").with_query(to=address))
        if address.startswith(("http:127", "http:/1", "http:///", "http:\\\\")):
            assert (await fetch(first, a_picture(IMAGES), bare=False)).pieces == [b"picture"]
            assert len(outside) == 2
        else:
            assert await through_a_redirect(canaries, address) == FAILED
            assert len(outside) == 1
    assert not canaries.sang()


@pytest.mark.parametrize("name", [*NAMES, "localhost", "LOCALHOST.", "ip6-localhost"])
async def test_names(canaries: Canaries, names: Names, outside: list[str], name: str) -> None:
    """A name with any address that is not public fails like one that does not exist, here and behind a redirect."""
    address = f"http://{name}:{canaries.port}/a.png"
    assert await refusal(address) == FAILED
    assert await through_a_redirect(canaries, address) == FAILED
    assert not canaries.sang()
    assert outside == [f"{OUTSIDE}:{canaries.port}"]
    assert name not in NAMES or names.asked == [name, name]


@pytest.mark.parametrize("inside", ["127.0.0.1", "127.0.0.2", "::1", "SELF"])
async def test_rebinding(canaries: Canaries, names: Names, outside: list[str], inside: str) -> None:
    """A name that is public when it is checked and private afterwards is connected to where it was public, or not at all."""
    names.answers["rebind.test"] = [[OUTSIDE], [inside], [OUTSIDE], [inside]]
    address = f"http://rebind.test:{canaries.port}/a.png"
    assert (await fetch(address, a_picture(IMAGES), bare=False)).pieces == [b"picture"]
    assert names.asked == ["rebind.test"]
    assert await refusal(address) == FAILED
    # A site that redirects to its own name is asked for again, and so is its name.
    assert await refusal(f"{address}?to=http://rebind.test:{canaries.port}/b.png") == FAILED
    assert names.asked == ["rebind.test"] * 4
    assert len(outside) == 2
    assert not canaries.sang()


async def test_the_canaries_can_sing(canaries: Canaries) -> None:
    """A connection is noticed, or nothing above would mean anything."""
    other = Canaries()
    assert not other.sang()
    only = Images(allowed_cidrs=["127.0.0.1/32"], fetch_timeout="100ms")
    with pytest.raises(MediaError):
        await fetch(f"http://127.0.0.1:{other.port}/", a_picture(only), bare=False)
    assert other.sang()
    assert not canaries.sang()
    other.close()
