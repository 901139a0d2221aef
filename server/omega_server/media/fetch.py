"""A picture's or video's address to its bytes, without opening the inside network to whoever may ask for one.

Every address that is not public is refused, names are resolved once and the connection goes to the very address that
was checked, each redirect is checked again, nothing from the environment is obeyed, and size and time are bounded. A
download that fails says the same for every reason, so that it answers no questions about the inside.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from omega_schema.resource import Images, Video
from omega_server.media.address import Network, literal, permitted
from omega_server.media.downloads import Downloads, Place
from omega_server.media.errors import MediaError
from omega_server.media.kept import kept

MAX_REDIRECTS = 3
CHUNK = 256 * 1024
MAX_HEAD = 1024
"""Bytes of a data: URI before its payload."""
BINARY_TYPES = ("application/octet-stream", "binary/octet-stream")


@dataclass(frozen=True)
class Encoded:
    """A picture or video as it was sent.

    Attributes:
        data: the file's bytes, or their base64 text; in pieces if it is large, because to put them together takes long.
        base64: which of the two. The text is decoded beside what it holds, not in the process that talks to clients.
        downloaded: whether it came over the network just now.
    """

    data: bytes | Sequence[bytes]
    base64: bool
    downloaded: bool = False

    @property
    def pieces(self) -> Sequence[bytes]:
        """The data, one after the other."""
        return [self.data] if isinstance(self.data, bytes) else self.data

    @property
    def size(self) -> int:
        """Of the data, in bytes."""
        return sum(map(len, self.pieces))


@dataclass(frozen=True)
class Wanted:
    """What is fetched, and from where it may come.

    Attributes:
        noun: in messages.
        word: in codes and media types.
        max_bytes: of the file.
        images: the policy, which is the same for videos.
    """

    noun: str
    word: str
    max_bytes: int
    images: Images

    def invalid(self, message: str) -> MediaError:
        """The address cannot be used."""
        return MediaError(f"invalid_{self.word}_url", message)

    def unsupported(self, place: str) -> MediaError:
        """Another media type."""
        message = f"{place} something that is not a {self.noun}."
        return MediaError(f"unsupported_{self.word}_media_type", message)

    def not_base64(self) -> MediaError:
        """Other characters."""
        return MediaError(f"invalid_base64_{self.word}", f"The {self.noun} is not base64.")

    def empty(self) -> MediaError:
        """No bytes."""
        return MediaError(f"empty_{self.word}_file", f"The {self.noun} is empty.")

    def too_large(self) -> MediaError:
        """Too many bytes."""
        return MediaError(
            f"{self.word}_file_too_large", f"The {self.noun}'s file is larger than {self.max_bytes} bytes."
        )

    def failed(self) -> MediaError:
        """The download, for whatever reason."""
        return MediaError(f"failed_to_download_{self.word}", f"The {self.noun} could not be downloaded.")


def a_picture(images: Images) -> Wanted:
    """A picture under these limits."""
    return Wanted("picture", "image", images.max_bytes.bytes, images)


def a_video(limits: Video, images: Images) -> Wanted:
    """A video under these limits, from where pictures may come."""
    return Wanted("video", "video", limits.max_bytes.bytes, images)


@dataclass(frozen=True)
class Memory:
    """Downloads of before, and who asks now."""

    downloads: Downloads
    tenant: bytes

    def place(self, url: URL, wanted: Wanted) -> Place:
        """Where a download of an address is kept."""
        policy = (wanted.word, *wanted.images.allowed_hosts, "", *wanted.images.allowed_cidrs)
        return Place(self.tenant, policy, str(url))


async def fetch(source: str, wanted: Wanted, memory: Memory | None = None, *, bare: bool) -> Encoded:
    """The bytes behind the address of a picture or video.

    Args:
        source: a data: URI, an http(s) address, base64, or the name of what was `kept`.
        wanted: which of the two, limits and policy.
        memory: of downloads; without it each is made anew.
        bare: whether text without a scheme is base64.

    Raises:
        MediaError: the address, or what it leads to, is not permitted.
    """
    pieces = kept.get().get(source) or [source.encode()]
    first = pieces[0][:MAX_HEAD].decode("latin-1")
    scheme = first[:10].partition(":")[0].lower() if ":" in first[:10] else ""
    if scheme == "data":
        return _data_uri(pieces, wanted)
    if scheme in ("http", "https"):
        if not wanted.images.allow_remote:
            raise wanted.invalid(f"This server fetches no {wanted.noun}s; send it as a data: URI.")
        return await _download(_parse(source, wanted), wanted, memory or Memory(Downloads(0), b""))
    # The base64 of a JPEG begins with /9j/, so a slash alone does not make a path.
    if bare and ":" not in first and (not first.startswith("/") or first.startswith("/9j/")):
        return _base64(pieces, wanted)
    raise wanted.invalid(f"A {wanted.noun}'s address begins with https://, http:// or data:{wanted.word}/.")


def _data_uri(pieces: Sequence[bytes], wanted: Wanted) -> Encoded:
    head, *rest = pieces
    comma = head.find(b",", 0, MAX_HEAD)
    kind, *parameters = head[len("data:") : max(comma, 0)].decode("latin-1").split(";")
    if comma < 0 or "base64" not in (parameter.strip().lower() for parameter in parameters):
        raise wanted.invalid(f"A data: URI looks like data:{wanted.word}/TYPE;base64,PAYLOAD.")
    if kind and not kind.lower().startswith(f"{wanted.word}/") and kind.lower() not in BINARY_TYPES:
        raise wanted.unsupported("The data: URI says that it is")
    return _base64([head[comma + 1 :], *rest], wanted)


def _base64(pieces: Sequence[bytes], wanted: Wanted) -> Encoded:
    size = sum(map(len, pieces))
    if not size:
        raise wanted.empty()
    if size // 4 * 3 > wanted.max_bytes + 3:
        raise wanted.too_large()
    if len(pieces) == 1 and not pieces[0].isascii():  # of many pieces, whoever decodes them finds out
        raise wanted.not_base64()
    return Encoded(pieces[0] if len(pieces) == 1 else pieces, base64=True)


def _parse(text: str, wanted: Wanted) -> URL:
    """An http(s) address with nothing odd in it, so that no two parsers could see different hosts."""
    odd = any(ord(char) <= 0x20 or ord(char) == 0x7F or char == "\\" for char in text)
    try:
        url = URL(text)
        port, host = url.port, url.raw_host
    except ValueError:
        odd, port, host, url = True, None, None, URL()
    odd = odd or "%" in (host or "")
    if odd or len(text) > 8192 or not host or port in (None, 0) or url.raw_user or url.raw_password is not None:
        raise wanted.invalid(f"The {wanted.noun}'s address is not a plain http(s) address.")
    return url.with_fragment(None)


def _check(url: URL, wanted: Wanted) -> None:
    images = wanted.images
    host = (url.raw_host or "").rstrip(".").lower()
    if images.allowed_hosts and not any(_matches(host, pattern) for pattern in images.allowed_hosts):
        raise wanted.invalid(f"A {wanted.noun} may not be fetched from this host.")
    try:
        address = literal(host)
    except ValueError:
        address = "127.0.0.1"  # an odd spelling is treated as what it most often hides
    if address is not None and not permitted(address, _networks(images)):
        raise wanted.invalid(f"A {wanted.noun} may not be fetched from this address.")


def _matches(host: str, pattern: str) -> bool:
    pattern = pattern.lower().rstrip(".")
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _networks(images: Images) -> list[Network]:
    return [ipaddress.ip_network(cidr, strict=False) for cidr in images.allowed_cidrs]


class _PublicResolver(AbstractResolver):
    """Resolves a name once; if any of its addresses is not permitted, it has none."""

    def __init__(self, allowed: list[Network]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        addresses = [(kind, str(place[0])) for kind, _, _, _, place in found]
        if not addresses or not all(permitted(address, self._allowed) for _, address in addresses):
            raise OSError(None, "not a public address")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for kind, address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def _download(url: URL, wanted: Wanted, memory: Memory) -> Encoded:
    _check(url, wanted)
    resolver = _PublicResolver(_networks(wanted.images))
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
    session = aiohttp.ClientSession(
        connector=connector, trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    )
    try:
        async with asyncio.timeout(wanted.images.fetch_timeout.seconds), session:
            return await _follow(session, url, wanted, memory)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise wanted.failed() from error


async def _follow(session: aiohttp.ClientSession, url: URL, wanted: Wanted, memory: Memory) -> Encoded:
    downloads = memory.downloads
    for _ in range(MAX_REDIRECTS + 1):
        place = memory.place(url, wanted)
        stored = downloads.find(place)
        if stored is not None and stored.size > wanted.max_bytes:
            raise wanted.too_large()
        if stored is not None and downloads.fresh(stored):
            return Encoded(stored.data, base64=False)
        questions = {} if stored is None else stored.questions
        headers = {"Accept": f"{wanted.word}/*", "Accept-Encoding": "identity", "User-Agent": "omega-vlm"}
        async with session.get(url, allow_redirects=False, headers={**headers, **questions}) as response:
            if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                url = _next(url, response.headers["Location"], wanted)
                continue
            if response.status == 304 and stored is not None:
                downloads.renew(place, stored, response.headers)
                return Encoded(stored.data, base64=False)
            if response.status != 200:
                raise wanted.failed()
            data = await _body(response, wanted)
            downloads.keep(place, data, response.headers)
            return Encoded(data, base64=False, downloaded=True)
    raise wanted.failed()


def _next(url: URL, location: str, wanted: Wanted) -> URL:
    # Where a redirect leads is the far side's doing, and what is there is nobody's business.
    try:
        following = _parse(str(url.join(URL(location))), wanted)
        if following.scheme not in ("http", "https"):
            raise wanted.failed()
        _check(following, wanted)
    except (MediaError, ValueError) as error:
        raise wanted.failed() from error
    return following


async def _body(response: aiohttp.ClientResponse, wanted: Wanted) -> list[bytes]:
    kind = response.content_type
    if "Content-Type" in response.headers and not kind.startswith(f"{wanted.word}/") and kind not in BINARY_TYPES:
        raise wanted.unsupported("The address leads to")
    # We asked for the plain file; a compressed one could grow without bound.
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise wanted.too_large()
    if (response.content_length or 0) > wanted.max_bytes:
        raise wanted.too_large()
    pieces: list[bytes] = []
    last, size = bytearray(), 0
    async for chunk in response.content.iter_chunked(CHUNK):
        last += chunk
        size += len(chunk)
        if size > wanted.max_bytes:
            raise wanted.too_large()
        if len(last) >= CHUNK:  # a chunk may be a single byte
            pieces.append(bytes(last))
            last.clear()
    if not size:
        raise wanted.empty()
    return [*pieces, bytes(last)] if last else pieces
