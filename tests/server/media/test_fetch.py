"""Pictures are fetched from where they may be, and nothing else is ever connected to."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from omega_schema.resource import Images
from omega_server.media import fetch as fetch_module
from omega_server.media import text
from omega_server.media.errors import MediaError
from omega_server.media.fetch import Encoded, a_picture, fetch
from omega_server.media.kept import kept

LOOPBACK = Images(allowed_cidrs=["127.0.0.0/8"], max_bytes="64Ki", fetch_timeout="1s")
FAILED = ("failed_to_download_image", "The picture could not be downloaded.")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def site(handler: Handler, place: tuple[str, int] = ("127.0.0.1", 0)) -> AsyncIterator[tuple[str, list[str]]]:
    """A web server on loopback: its address, and the paths that it was asked for."""
    asked: list[str] = []

    async def note(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await handler(request)

    runner = web.ServerRunner(web.Server(note))
    await runner.setup()
    listener = socket.create_server(place)
    await web.SockSite(runner, listener).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        await runner.cleanup()


async def refusal(address: str, images: Images = LOOPBACK, *, bare: bool = False) -> tuple[str, str]:
    """Code and message with which an address is refused."""
    with pytest.raises(MediaError) as caught:
        await fetch(address, a_picture(images), bare=bare)
    return caught.value.code, str(caught.value)


async def picture(_request: web.Request) -> web.StreamResponse:
    """A file that says it is a picture."""
    return web.Response(body=b"picture", content_type="image/png")


async def test_download() -> None:
    """A picture on a permitted address arrives as it is."""
    async with site(picture) as (address, asked):
        encoded = await fetch(f"{address}/a.png?x=1#y", a_picture(LOOPBACK), bare=False)
    assert encoded == Encoded([b"picture"], base64=False, downloaded=True)
    assert asked == ["/a.png"]


async def test_nothing_inside_is_contacted() -> None:
    """Without an allow-list nothing on loopback hears of a request, by whatever name it is called."""
    async with site(picture) as (address, asked):
        port = address.rpartition(":")[2]
        hosts = [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "127.0.0.1.",
            "0",
        ]
        hosts += ["[64:ff9b::7f00:1]", "\uff11\uff12\uff17.0.0.1", "localhost", "LOCALHOST.", "ip6-localhost"]
        for host in hosts:
            code, _ = await refusal(f"http://{host}:{port}/", Images())
            named = host.lower().rstrip(".").endswith("localhost")
            assert code == ("failed_to_download_image" if named else "invalid_image_url"), host
        assert asked == []


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd", "/etc/passwd", "ftp://example.com/a", "gopher://x", "javascript:alert(1)", "x.png", "",
        "http://", "http:///a", "http://:80/", "http://a:99999/", "http://a:0/", "http://user@example.com/",
        "http://u:p@example.com/", "http://example.com\\@127.0.0.1/", "http://example.com/\r\nHost: x", "http://a b/",
        "http://example.com/\x00", "data:image/png,abc", "data:image/png;base64", "http://169.254.169.254/latest/",
        "http://100.64.0.1/", "https://[fe80::1%25eth0]/",
    ],
)  # fmt: skip
async def test_bad_addresses(address: str) -> None:
    """What is not a plain http(s) address or a data: URI is refused before anything is resolved."""
    code, message = await refusal(address, Images())
    assert code == "invalid_image_url"
    assert "169.254" not in message


async def test_redirects() -> None:
    """A redirect is followed where it may lead, and refused without a word about where it led."""

    async def handler(request: web.Request) -> web.StreamResponse:
        targets = {
            "/good": "/picture",
            "/inside": "http://10.0.0.1/",
            "/link-local": "http://169.254.169.254/",
            "/file": "file:///etc/passwd",
            "/odd": "http://2130706433/",
            "/loop": "/loop",
        }
        if request.path in targets:
            return web.Response(status=302, headers={"Location": targets[request.path]})
        return await picture(request)

    async with site(handler) as (address, asked):
        assert (await fetch(f"{address}/good", a_picture(LOOPBACK), bare=False)).pieces == [b"picture"]
        for path in ("inside", "link-local", "file", "odd", "loop"):
            assert await refusal(f"{address}/{path}") == FAILED
        assert asked.count("/loop") == fetch_module.MAX_REDIRECTS + 1


async def test_failures_look_the_same() -> None:
    """Status, silence, slowness and unknown names cannot be told apart."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/slow":
            response = web.StreamResponse(headers={"Content-Type": "image/png"})
            await response.prepare(request)
            for _ in range(50):
                await response.write(b"x")
                await asyncio.sleep(0.1)
            return response
        return web.Response(status=int(request.path[1:]))

    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    async with site(handler) as (address, _):
        for bad in (f"{address}/404", f"{address}/500", f"{address}/slow", closed, "http://nowhere.invalid/"):
            assert await refusal(bad) == FAILED


async def test_rebinding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the address that was checked: the name is not asked for again."""
    answers = [["127.0.0.2"], ["127.0.0.1"]]

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in answers.pop(0)]

    async with site(picture) as (canary, asked_inside):
        port = int(canary.rpartition(":")[2])
        async with site(picture, ("127.0.0.2", port)) as (_, asked):
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
            only = Images(allowed_cidrs=["127.0.0.2/32"])
            assert (await fetch(f"http://rebind.example:{port}/", a_picture(only), bare=False)).pieces == [b"picture"]
            assert answers == [["127.0.0.1"]]
            assert await refusal(f"http://rebind.example:{port}/", only) == FAILED
            answers.append(["127.0.0.2", "127.0.0.1"])
            assert await refusal(f"http://rebind.example:{port}/", only) == FAILED
            assert (asked, asked_inside) == (["/"], [])


async def test_sizes() -> None:
    """A file over the limit is given up, announced or not, compressed or without end."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/announced":
            return web.Response(body=b"x" * 70_000, content_type="image/png")
        encoding = {"Content-Encoding": "gzip"} if request.path == "/gzip" else {}
        response = web.StreamResponse(headers={"Content-Type": "image/png", **encoding})
        await response.prepare(request)
        try:
            while request.path == "/endless":
                await response.write(b"x" * 8192)
        except ConnectionError:
            pass  # that is how an endless answer ends
        return response

    async with site(handler) as (address, _):
        for path in ("announced", "gzip", "endless"):
            assert (await refusal(f"{address}/{path}"))[0] == "image_file_too_large"
        assert (await refusal(f"{address}/empty"))[0] == "empty_image_file"


async def test_types() -> None:
    """A page that is not a picture is refused by its type."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>", content_type="text/html")

    async with site(handler) as (address, _):
        assert (await refusal(f"{address}/"))[0] == "unsupported_image_media_type"
    assert (await refusal("data:text/html;base64,aGk="))[0] == "unsupported_image_media_type"


async def test_policy() -> None:
    """Fetching can be switched off, or held to some hosts."""
    assert (await refusal("https://example.com/a.png", Images(allow_remote=False)))[0] == "invalid_image_url"
    only = Images(allowed_hosts=["example.com", "*.example.org"], allowed_cidrs=["127.0.0.0/8"])
    for address in ("https://example.net/", "https://aexample.com/", "https://example.org/", "http://127.0.0.1/"):
        assert (await refusal(address, only))[0] == "invalid_image_url"
    async with site(picture) as (address, asked):
        listed = Images(allowed_hosts=["127.0.0.1"], allowed_cidrs=["127.0.0.0/8"])
        assert (await fetch(address, a_picture(listed), bare=False)).pieces == [b"picture"]
        assert asked == ["/"]


async def test_environment_is_not_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment would see every address and reach the inside for us."""
    async with site(picture) as (address, asked), site(picture) as (proxy, proxied):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
        await fetch(f"{address}/direct", a_picture(LOOPBACK), bare=False)
        assert (asked, proxied) == (["/direct"], [])


async def test_base64() -> None:
    """Data: URIs always, and plain base64 where the original system took it, also when it begins like a path."""
    uri = await fetch("data:image/png;base64,aGk=", a_picture(LOOPBACK), bare=False)
    assert (uri.data, uri.base64) == (b"aGk=", True)
    with_percent = await fetch("DATA:;charset=x;BASE64,aGk%3D", a_picture(LOOPBACK), bare=False)
    assert text.decoded(b"".join(with_percent.pieces)) == b"hi"
    assert (await fetch("/9j/4AAQ", a_picture(LOOPBACK), bare=True)).data == b"/9j/4AAQ"
    assert (await refusal("aGk="))[0] == "invalid_image_url"
    assert (await refusal("data:image/png;base64,"))[0] == "empty_image_file"
    assert (await refusal("data:image/png;base64," + "A" * 90_000))[0] == "image_file_too_large"
    assert (await refusal("data:image/png;base64,\u00e9"))[0] == "invalid_base64_image"


async def test_kept() -> None:
    """A data: URI that was taken out of its request is found by its name, whole, and judged like any other."""
    pieces = [b"data:image/png;base64,aGk", b"hhGk"]
    kept.set(
        {
            "a": pieces,
            "b": [b"data:image/png;base64,aGk%3", b"D"],
            "c": [b"data:text/html;base64,a", b"Gk="],
            "d": [b"data:" + b"x" * 2000, b"x"],
            "f": [b"/9j/aGk", b"hhGk"],
            "g": [b"https://example.com/" + b"x" * 9000, b"x"],
        }
    )
    assert (await fetch("a", a_picture(LOOPBACK), bare=False)) == Encoded([b"aGk", b"hhGk"], base64=True)
    with_percent = await fetch("b", a_picture(LOOPBACK), bare=False)
    assert text.decoded(b"".join(with_percent.pieces)) == b"hi"
    assert (await refusal("c"))[0] == "unsupported_image_media_type"
    assert (await refusal("d"))[0] == "invalid_image_url"
    assert (await fetch("f", a_picture(LOOPBACK), bare=True)) == Encoded([b"/9j/aGk", b"hhGk"], base64=True)
    assert (await refusal("f"))[0] == "invalid_image_url"
    assert (await refusal("g"))[0] == "invalid_image_url"
    assert (await refusal("e"))[0] == "invalid_image_url"
