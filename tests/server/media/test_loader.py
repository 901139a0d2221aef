"""Pictures of one request come side by side and in order; what is kept saves work, and is one tenant's alone."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from PIL import Image

from films import film
from omega_schema.resource import Images, Video
from omega_server.media import loader as loader_module
from omega_server.media.clip import Clip, VideoDefaults
from omega_server.media.loader import Loader, Source, VideoSource
from omega_server.media.picture import Bounds, Picture

IMAGES, VIDEO, DEFAULTS = Images(allowed_cidrs=["127.0.0.0/8"]), Video(), VideoDefaults(2.0, 4, 768, 32)
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]


class Count:
    """Counts what was done, instead of timing it."""

    def __init__(self) -> None:
        self.downloads = self.decodes = 0

    def downloaded(self, seconds: float, size: int) -> None:
        """A file was fetched."""
        assert seconds >= 0 < size
        self.downloads += 1

    def decoded(self, seconds: float) -> None:
        """A picture was decoded."""
        assert seconds >= 0
        self.decodes += 1


def png(colour: tuple[int, int, int]) -> bytes:
    """A picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (40, 20), colour).save(file, "PNG")
    return file.getvalue()


def source(address: str, **look: int) -> Source:
    """A picture in a request."""
    return Source(address, "messages[0].content[0]", low_detail=False, bare=False, **look)


def uri(colour: tuple[int, int, int]) -> str:
    """A picture as a data: URI."""
    return "data:image/png;base64," + base64.b64encode(png(colour)).decode()


@pytest.fixture
async def count() -> Count:
    """What the loader did."""
    return Count()


@pytest.fixture
async def loader(count: Count) -> AsyncIterator[Loader]:
    """A loader."""
    made = Loader(count)
    yield made
    await made.close()


def film_uri(frames: int) -> str:
    """A video as a data: URI."""
    return "data:video/mp4;base64," + base64.b64encode(film(frames)).decode()


async def load(loader: Loader, *sources: Source, tenant: bytes = b"", images: Images = IMAGES) -> list[Picture]:
    """Pictures only."""
    found = await loader.load(sources, images, VIDEO, DEFAULTS, tenant)
    assert all(isinstance(picture, Picture) for picture in found)
    return [picture for picture in found if isinstance(picture, Picture)]


async def test_order(loader: Loader) -> None:
    """Many pictures, some twice, come back as they were asked for."""
    wanted = [COLOURS[index % 3] for index in range(9)] + [COLOURS[3]]
    pictures = await load(loader, *(source(uri(colour)) for colour in wanted))
    assert [tuple(picture.rgb[:3]) for picture in pictures] == wanted


async def test_decoded_once(loader: Loader, count: Count) -> None:
    """The same file is decoded once for each tenant and size; how large the model sees it is another matter."""
    first, second = source(uri(COLOURS[0])), source(uri(COLOURS[1]))
    assert await load(loader, first, second, tenant=b"one") == await load(loader, first, second, tenant=b"one")
    assert count.decodes == 2
    (bounded,) = await load(loader, source(uri(COLOURS[0]), max_pixels=4096), tenant=b"one")
    assert (bounded.bounds, count.decodes) == (Bounds(None, 4096, 1024), 2)
    await load(loader, first, tenant=b"other")
    assert count.decodes == 3
    (small,) = await load(loader, first, tenant=b"one", images=Images(max_size=32))
    assert (small.width, count.decodes) == (32, 4)


async def test_clips_decoded_once(loader: Loader, count: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same frames of a video are decoded once for each tenant; one clip too large to keep is decoded each time."""

    async def clip(frames: int = 20, taken: int = 4, tenant: bytes = b"one") -> Picture | Clip:
        (found,) = await loader.load([VideoSource(film_uri(frames), "x", count=taken)], IMAGES, VIDEO, DEFAULTS, tenant)
        return found

    first = await clip()
    assert isinstance(first, Clip)
    assert await clip() == first
    assert count.decodes == 1
    for number, changed in enumerate(({"taken": 6}, {"frames": 21}, {"tenant": b"other"}), 2):
        await clip(**changed)  # type: ignore[arg-type]
        assert count.decodes == number
    monkeypatch.setattr(loader_module, "MAX_SHARE", loader_module.DECODED_BYTES // len(first.rgb) + 1)
    for number in (5, 6):
        assert await clip(tenant=b"third") == first
        assert count.decodes == number


async def test_downloaded_side_by_side_and_once(loader: Loader, count: Count) -> None:
    """The pictures of a request are fetched at the same time; a second turn fetches nothing that may be kept."""
    asked: list[str] = []
    all_here = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        if len(asked) == 3:
            all_here.set()
        await all_here.wait()  # none is answered before all are asked for
        headers = {"Content-Type": "image/png", "Cache-Control": "max-age=60"}
        return web.Response(body=png(COLOURS[int(request.path[1:])]), headers=headers)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    wanted = [source(f"http://127.0.0.1:{port}/{index}") for index in range(3)]
    try:
        first = await load(loader, *wanted, tenant=b"one")
        assert count.downloads == 3
        assert [tuple(picture.rgb[:3]) for picture in first] == COLOURS[:3]
        assert await load(loader, *wanted, tenant=b"one") == first
        assert len(asked) == count.downloads == 3
        assert await load(loader, wanted[0], tenant=b"other") == first[:1]
        assert len(asked) == count.downloads == 4
    finally:
        await runner.cleanup()
