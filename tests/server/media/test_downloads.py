"""Downloads are kept as HTTP permits, for who asked and for nobody else."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from omega_schema.quantity import Quantity
from omega_schema.resource import Images
from omega_server.media.downloads import OVERHEAD, Downloads, Place, lifetime
from omega_server.media.errors import MediaError
from omega_server.media.fetch import Memory, a_picture, fetch

LOOPBACK = Images(allowed_cidrs=["127.0.0.0/8"])
DATE = "Tue, 24 Nov 2026 12:00:00 GMT"
LATER = "Tue, 24 Nov 2026 12:01:00 GMT"


@pytest.mark.parametrize(
    ("headers", "alone", "shared"),
    [
        ({}, 0, 0),
        ({"Cache-Control": "max-age=60"}, 60, 60),
        ({"Cache-Control": "Public, Max-Age = 60"}, 60, 60),
        ({"Cache-Control": 'max-age="60"'}, 60, 60),
        ({"Cache-Control": "max-age=60", "Age": "20"}, 40, 40),
        ({"Cache-Control": "max-age=60", "Age": "90"}, 0, 0),
        ({"Cache-Control": "max-age=60, s-maxage=5"}, 60, 5),
        ({"Cache-Control": "private, max-age=60"}, 60, None),
        ({"Cache-Control": 'private="set-cookie", max-age=60'}, 60, None),
        ({"Cache-Control": "no-store, max-age=60"}, None, None),
        ({"Cache-Control": "no-cache, max-age=60"}, 0, 0),
        ({"Cache-Control": "max-age=-1"}, 0, 0),
        ({"Cache-Control": "max-age=1e9"}, 0, 0),
        ({"Cache-Control": "max-age=99999999999999"}, 31_536_000, 31_536_000),
        ({"Pragma": "no-cache", "Expires": LATER, "Date": DATE}, 0, 0),
        ({"Expires": LATER, "Date": DATE}, 60, 60),
        ({"Expires": DATE, "Date": LATER}, 0, 0),
        ({"Expires": LATER}, 0, 0),
        ({"Expires": "0", "Date": DATE}, 0, 0),
        ({"Expires": "Tue, 24 Nov 2026 12:01:00 -0000", "Date": DATE}, 0, 0),
        ({"Vary": "*", "Cache-Control": "max-age=60"}, None, None),
    ],
)
def test_lifetime(headers: Mapping[str, str], alone: float | None, shared: float | None) -> None:
    """What an answer says about itself counts, and nonsense means: ask each time."""
    assert lifetime(headers, shared=False) == alone
    assert lifetime(headers, shared=True) == shared


def test_bounded() -> None:
    """The least recently used goes first, and what is large does not come in."""
    downloads = Downloads(8 * OVERHEAD)
    places = [Place(b"", (), str(number)) for number in range(5)]
    for place in places:
        downloads.keep(place, [b"x" * OVERHEAD], {"Cache-Control": "max-age=9"})
        assert downloads.find(places[0]) is not None
    assert [downloads.find(place) is not None for place in places] == [True, False, True, True, True]
    downloads.keep(places[0], [b"x" * OVERHEAD] * 2, {"Cache-Control": "max-age=9"})
    assert downloads.find(places[0]) is None


@dataclass
class Site:
    """A web server with one picture, which changes.

    Attributes:
        headers: of its answers.
        body: the picture.
        asked: which question each request had.
    """

    headers: dict[str, str]
    body: bytes = b"first"
    asked: list[str | None] = field(default_factory=list)
    address: str = ""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """200, or 304 where nothing has changed."""
        question = request.headers.get("If-None-Match") or request.headers.get("If-Modified-Since")
        self.asked.append(question)
        if question is not None and question in (self.headers.get("ETag"), self.headers.get("Last-Modified")):
            return web.Response(status=304, headers=self.headers)
        return web.Response(body=self.body, headers={"Content-Type": "image/png", **self.headers})


@asynccontextmanager
async def site(headers: dict[str, str]) -> AsyncIterator[Site]:
    """The web server, on loopback."""
    made = Site(headers)
    runner = web.ServerRunner(web.Server(made.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.address = f"http://127.0.0.1:{runner.addresses[0][1]}/a.png"
    try:
        yield made
    finally:
        await runner.cleanup()


class Clock:
    """Seconds, as they are told."""

    now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


async def test_asked_once() -> None:
    """As long as an answer is fresh nobody is asked again; then it is asked for, and the new one counts."""
    clock = Clock()
    memory = Memory(Downloads(clock=clock), b"one")
    async with site({"Cache-Control": "max-age=60"}) as far:
        for sent in (True, False, False):
            found = await fetch(far.address, a_picture(LOOPBACK), memory, bare=False)
            assert (found.pieces, found.downloaded) == ([b"first"], sent)
        assert far.asked == [None]
        far.body = b"second"
        clock.now += 60
        assert (await fetch(far.address, a_picture(LOOPBACK), memory, bare=False)).pieces == [b"second"]
        assert far.asked == [None, None]


@pytest.mark.parametrize("validator", [{"ETag": '"1"'}, {"Last-Modified": DATE}])
@pytest.mark.parametrize("control", [{}, {"Cache-Control": "no-cache"}])
async def test_asked_whether_it_changed(validator: dict[str, str], control: dict[str, str]) -> None:
    """What must be asked for each time is sent only when it has changed."""
    memory = Memory(Downloads(), b"one")
    async with site({**validator, **control}) as far:
        for sent in (True, False, False):
            found = await fetch(far.address, a_picture(LOOPBACK), memory, bare=False)
            assert (found.pieces, found.downloaded) == ([b"first"], sent)
        (question,) = validator.values()
        assert far.asked == [None, question, question]
        far.headers, far.body = {"ETag": '"2"', **control}, b"second"
        assert (await fetch(far.address, a_picture(LOOPBACK), memory, bare=False)).pieces == [b"second"]


async def test_not_to_be_kept() -> None:
    """What says so is not kept, also when it was kept before."""
    memory = Memory(Downloads(), b"one")
    async with site({"Cache-Control": "no-cache", "ETag": '"1"'}) as far:
        await fetch(far.address, a_picture(LOOPBACK), memory, bare=False)
        far.headers = {"Cache-Control": "no-store", "ETag": '"2"'}
        for _ in range(2):
            await fetch(far.address, a_picture(LOOPBACK), memory, bare=False)
        assert far.asked == [None, '"1"', None]


@pytest.mark.parametrize("control", ["max-age=60", "private, max-age=60"])
async def test_tenants(control: str) -> None:
    """Each tenant has downloads of its own; where everybody is one tenant, nothing private is kept."""
    downloads = Downloads()
    async with site({"Cache-Control": control}) as far:
        for tenant, body in ((b"one", b"of one"), (b"other", b"of the other"), (b"one", b""), (b"other", b"")):
            far.body = body or b"neither's"
            found = await fetch(far.address, a_picture(LOOPBACK), Memory(downloads, tenant), bare=False)
            assert found.pieces == [body or {b"one": b"of one", b"other": b"of the other"}[tenant]]
        assert len(far.asked) == 2
        for _ in range(2):
            await fetch(far.address, a_picture(LOOPBACK), Memory(downloads, b""), bare=False)
        assert len(far.asked) == (4 if "private" in control else 3)


async def test_policy_counts_for_what_is_kept() -> None:
    """What could not be fetched now is not given out of memory, and neither is what is too large now."""
    memory = Memory(Downloads(), b"one")
    async with site({"Cache-Control": "max-age=60"}) as far:
        far.body = b"x" * 2000
        await fetch(far.address, a_picture(LOOPBACK), memory, bare=False)
        for images, code in (
            (Images(), "invalid_image_url"),
            (Images(allow_remote=False), "invalid_image_url"),
            (Images(allowed_hosts=["example.com"], allowed_cidrs=["127.0.0.0/8"]), "invalid_image_url"),
        ):
            with pytest.raises(MediaError) as caught:
                await fetch(far.address, a_picture(images), memory, bare=False)
            assert caught.value.code == code
        small = Images(max_bytes=Quantity("1Ki"), allowed_cidrs=["127.0.0.0/8"])
        with pytest.raises(MediaError) as caught:
            await fetch(far.address, a_picture(small), memory, bare=False)
        assert caught.value.code == "image_file_too_large"
        assert far.asked == [None]
