"""A picture's address to its bytes, without opening the inside network to whoever may ask for a picture.

Every address that is not public is refused, names are resolved once and the connection goes to the very address that
was checked, each redirect is checked again, nothing from the environment is obeyed, and size and time are bounded. A
download that fails says the same for every reason, so that it answers no questions about the inside.
"""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from omega_schema.resource import Images
from omega_server.media.address import Network, literal, permitted
from omega_server.media.errors import MediaError

MAX_REDIRECTS = 3
CHUNK = 256 * 1024
BINARY_TYPES = ("application/octet-stream", "binary/octet-stream")


@dataclass(frozen=True)
class Encoded:
    """A picture as it was sent.

    Attributes:
        data: the file's bytes, or their base64 text.
        base64: which of the two. The text is decoded beside the picture, not in the process that talks to clients.
    """

    data: bytes
    base64: bool


async def fetch(source: str, images: Images, *, bare: bool) -> Encoded:
    """The bytes behind a picture's address.

    Args:
        source: a data: URI or an http(s) address.
        images: limits and policy.
        bare: whether text without a scheme is base64.

    Raises:
        MediaError: the address, or what it leads to, is not permitted.
    """
    scheme = source[:10].partition(":")[0].lower() if ":" in source[:10] else ""
    limit = images.max_bytes.bytes
    if scheme == "data":
        return _data_uri(source, limit)
    if scheme in ("http", "https"):
        if not images.allow_remote:
            raise MediaError("invalid_image_url", "This server fetches no pictures; send it as a data: URI.")
        return Encoded(await _download(_parse(source), images, limit), base64=False)
    # The base64 of a JPEG begins with /9j/, so a slash alone does not make a path.
    if bare and ":" not in source and (not source.startswith("/") or source.startswith("/9j/")):
        return _base64(source, limit)
    raise MediaError("invalid_image_url", "A picture's address begins with https://, http:// or data:image/.")


def _data_uri(source: str, limit: int) -> Encoded:
    head, comma, payload = source.partition(",")
    kind, *parameters = head[len("data:") :].split(";")
    if not comma or "base64" not in (parameter.strip().lower() for parameter in parameters):
        raise MediaError("invalid_image_url", "A data: URI looks like data:image/png;base64,PAYLOAD.")
    if kind and not kind.lower().startswith("image/") and kind.lower() not in BINARY_TYPES:
        raise MediaError("unsupported_image_media_type", "The data: URI's media type is not a picture's.")
    return _base64(payload, limit)


def _base64(payload: str, limit: int) -> Encoded:
    if not payload:
        raise MediaError("empty_image_file", "The picture is empty.")
    if len(payload) // 4 * 3 > limit + 3:
        raise _too_large(limit)
    if not payload.isascii():
        raise MediaError("invalid_base64_image", "The picture is not base64.")
    data = unquote_to_bytes(payload) if "%" in payload else payload.encode("ascii")
    return Encoded(data, base64=True)


def _too_large(limit: int) -> MediaError:
    return MediaError("image_file_too_large", f"The picture's file is larger than {limit} bytes.")


def _failed() -> MediaError:
    return MediaError("failed_to_download_image", "The picture could not be downloaded.")


def _parse(text: str) -> URL:
    """An http(s) address with nothing odd in it, so that no two parsers could see different hosts."""
    odd = any(ord(char) <= 0x20 or ord(char) == 0x7F or char == "\\" for char in text)
    try:
        url = URL(text)
        port, host = url.port, url.raw_host
    except ValueError:
        odd, port, host, url = True, None, None, URL()
    if odd or len(text) > 8192 or not host or port in (None, 0) or url.raw_user or url.raw_password is not None:
        raise MediaError("invalid_image_url", "The picture's address is not a plain http(s) address.")
    return url.with_fragment(None)


def _check(url: URL, images: Images) -> None:
    host = (url.raw_host or "").rstrip(".").lower()
    if images.allowed_hosts and not any(_matches(host, pattern) for pattern in images.allowed_hosts):
        raise MediaError("invalid_image_url", "Pictures may not be fetched from this host.")
    try:
        address = literal(host)
    except ValueError:
        address = "127.0.0.1"  # an odd spelling is treated as what it most often hides
    if address is not None and not permitted(address, _networks(images)):
        raise MediaError("invalid_image_url", "Pictures may not be fetched from this address.")


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


async def _download(url: URL, images: Images, limit: int) -> bytes:
    _check(url, images)
    connector = aiohttp.TCPConnector(resolver=_PublicResolver(_networks(images)), use_dns_cache=False, force_close=True)
    session = aiohttp.ClientSession(
        connector=connector, trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    )
    try:
        async with asyncio.timeout(images.fetch_timeout.seconds), session:
            return await _follow(session, url, images, limit)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise _failed() from error


async def _follow(session: aiohttp.ClientSession, url: URL, images: Images, limit: int) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        headers = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "omega-vlm"}
        async with session.get(url, allow_redirects=False, headers=headers) as response:
            if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                url = _next(url, response.headers["Location"], images)
                continue
            if response.status != 200:
                raise _failed()
            return await _body(response, limit)
    raise _failed()


def _next(url: URL, location: str, images: Images) -> URL:
    # Where a redirect leads is the far side's doing, and what is there is nobody's business.
    try:
        following = _parse(str(url.join(URL(location))))
        if following.scheme not in ("http", "https"):
            raise _failed()
        _check(following, images)
    except (MediaError, ValueError) as error:
        raise _failed() from error
    return following


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    kind = response.content_type
    if "Content-Type" in response.headers and not kind.startswith("image/") and kind not in BINARY_TYPES:
        raise MediaError("unsupported_image_media_type", "The address leads to something that is not a picture.")
    # We asked for the plain file; a compressed one could grow without bound.
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _too_large(limit)
    if (response.content_length or 0) > limit:
        raise _too_large(limit)
    data = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        data += chunk
        if len(data) > limit:
            raise _too_large(limit)
    if not data:
        raise MediaError("empty_image_file", "The picture is empty.")
    return bytes(data)
