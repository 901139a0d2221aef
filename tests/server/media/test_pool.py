"""Decoding happens elsewhere: a picture that breaks its process, or takes for ever, breaks nothing else."""

import asyncio
import base64
import os
import signal
from pathlib import Path

import pytest

from films import film
from omega_schema.resource import Images, Video
from omega_server.media import pool as pool_module
from omega_server.media import video
from omega_server.media.clip import Choice, Clip, VideoDefaults, VideoLimits
from omega_server.media.decode import Limits
from omega_server.media.errors import MediaError
from omega_server.media.fetch import Encoded
from omega_server.media.loader import Loader, Source, VideoSource
from omega_server.media.picture import Picture
from omega_server.media.pool import DecodePool
from omega_server.metrics import Metrics

LIMITS = Limits(1_000_000, 1024, 1 << 20)
# 2 x 1 pixels: red and green.
PPM = "Qk0+AAAAAAAAADYAAAAoAAAAAgAAAAEAAAABABgAAAAAAAgAAAATCwAAEwsAAAAAAAAAAAAAAAD/AP8AAAA="
PICTURE = Encoded(PPM.encode(), base64=True)
POLICY = (Images(), Video(), VideoDefaults(2.0, 4, 768, 32))
EXPECTED = b"\xff\x00\x00\x00\xff\x00"


async def test_many_at_once() -> None:
    """More pictures than processes are all decoded, by few processes."""
    pool = DecodePool(2)
    pictures = await asyncio.gather(*(pool.decode(PICTURE, LIMITS) for _ in range(20)))
    assert {picture.rgb for picture in pictures} == {EXPECTED}
    assert 1 <= len(pool._processes) <= 2
    await pool.close()


async def test_a_fault_costs_no_process() -> None:
    """A bad picture is told from a bad process."""
    pool = DecodePool(1)
    await pool.decode(PICTURE, LIMITS)
    before = {process.pid for process in pool._processes}
    with pytest.raises(MediaError) as caught:
        await pool.decode(Encoded(b"nonsense", base64=False), LIMITS)
    assert caught.value.code == "invalid_image_format"
    assert (await pool.decode(PICTURE, LIMITS)).rgb == EXPECTED
    assert {process.pid for process in pool._processes} == before
    await pool.close()


async def test_killed_process() -> None:
    """A process that dies is replaced."""
    pool = DecodePool(1)
    await pool.decode(PICTURE, LIMITS)
    (process,) = pool._processes
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert (await pool.decode(PICTURE, LIMITS)).rgb == EXPECTED
    await pool.close()


async def test_stopped_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs is killed when the time is up, and the picture is at fault."""
    pool = DecodePool(1)
    await pool.decode(PICTURE, LIMITS)
    (process,) = pool._processes
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(pool_module, "SECONDS", 0.2)
    with pytest.raises(MediaError) as caught:
        await pool.decode(PICTURE, LIMITS)
    assert caught.value.code == "image_parse_error"
    assert await process.wait() == -signal.SIGKILL
    monkeypatch.undo()
    assert (await pool.decode(PICTURE, LIMITS)).rgb == EXPECTED
    await pool.close()


async def test_lost_interest() -> None:
    """A caller that is cancelled gives its place back, and no half answer reaches the next."""
    pool = DecodePool(1)
    for _ in range(3):
        task = asyncio.create_task(pool.decode(PICTURE, LIMITS))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (await pool.decode(PICTURE, LIMITS)).rgb == EXPECTED
    await pool.close()


async def test_environment_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that takes the process over finds no keys in it."""
    monkeypatch.setenv("API_KEY", "secret-key")
    pool = DecodePool(1)
    await pool.decode(PICTURE, LIMITS)
    (process,) = pool._processes
    assert b"secret-key" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    await pool.close()


async def test_light() -> None:
    """A decoding process is small: no torch, no web server."""
    pool = DecodePool(1)
    await pool.decode(PICTURE, LIMITS)
    (process,) = pool._processes
    loaded = Path(f"/proc/{process.pid}/maps").read_text()
    assert "torch" not in loaded
    assert "pydantic" not in loaded
    await pool.close()


async def test_loader_keeps_order_and_place() -> None:
    """Pictures come back in the order of the request, and a fault says where it stands."""
    metrics = Metrics(lambda: ())
    loader = Loader(metrics)
    good = Source("data:image/bmp;base64," + PPM, "messages[0].content[0]", low_detail=False, bare=False)
    bad = Source("data:image/png;base64,AAAA", "messages[0].content[1]", low_detail=False, bare=False)
    assert len(await loader.load([good, good], *POLICY)) == 2
    assert metrics.registry.get_sample_value("omega_mm_media_decode_latency_seconds_count") == 2
    assert metrics.registry.get_sample_value("omega_mm_media_download_latency_seconds_count") == 0
    assert await loader.load([], *POLICY) == []
    with pytest.raises(MediaError) as caught:
        await loader.load([good, bad, good], *POLICY)
    assert (caught.value.code, caught.value.param) == ("invalid_image_format", "messages[0].content[1]")
    await loader.close()


async def test_a_video_and_a_broken_one() -> None:
    """The same processes decode videos; what is wrong with one is told in words of its own."""
    pool = DecodePool(1)
    limits, choice = VideoLimits(1 << 20, 60), Choice(2.0, None, 4, 768, 1024)
    file = film(30)
    clip = await pool.clip(Encoded(file, base64=False), limits, choice)
    assert clip == video.decode(file, limits, choice)
    assert (await pool.decode(PICTURE, LIMITS)).rgb == EXPECTED
    with pytest.raises(MediaError) as caught:
        await pool.clip(Encoded(file[:1000], base64=False), limits, choice)
    assert caught.value.code == "video_parse_error"
    assert await pool.clip(Encoded(base64.b64encode(file), base64=True), limits, choice) == clip
    await pool.close()


async def test_a_video_that_takes_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A video has its own time; when that is up its process is killed, and the next one works."""
    pool = DecodePool(1)
    limits, choice = VideoLimits(1 << 20, 60), Choice(2.0, None, 4, 768, 1024)
    await pool.decode(PICTURE, LIMITS)
    (process,) = pool._processes
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(pool_module, "VIDEO_SECONDS", 0.05)
    with pytest.raises(MediaError) as caught:
        await pool.clip(Encoded(b"x", base64=False), limits, choice)
    assert caught.value.code == "video_parse_error"
    assert (await pool.decode(PICTURE, LIMITS)).rgb == EXPECTED
    await pool.close()


async def test_loader_mixes_pictures_and_videos() -> None:
    """Pictures and videos come in the order of the request; each limit has its place in what was asked."""
    loader = Loader(Metrics(lambda: ()))
    picture = Source(f"data:image/bmp;base64,{PPM}", "messages[0].content[0]", low_detail=False, bare=False)
    film_uri = f"data:video/mp4;base64,{base64.b64encode(film(30, rate=10)).decode()}"
    first, second = VideoSource(film_uri, "a", count=3), VideoSource(film_uri, "b", max_frames=5, fps=10.0)
    clip, shown, other = await loader.load([first, picture, second], *POLICY)
    assert isinstance(clip, Clip)
    assert isinstance(shown, Picture)
    assert isinstance(other, Clip)
    assert (len(clip.indices), shown.rgb, len(other.indices)) == (3, EXPECTED, 5)
    (few,) = await loader.load([second], Images(max_size=64), Video(max_frames=2), POLICY[2])
    assert isinstance(few, Clip)
    assert (few.indices, few.width) == ((0, 29), 64)
    with pytest.raises(MediaError) as caught:
        await loader.load([picture, VideoSource("https://10.0.0.1/a.mp4", "c")], *POLICY)
    assert (caught.value.code, caught.value.param) == ("invalid_video_url", "c")
    with pytest.raises(MediaError) as caught:
        await loader.load([first], Images(), Video(max_seconds=2), POLICY[2])
    assert (caught.value.code, caught.value.param) == ("video_too_long", "a")
    with pytest.raises(MediaError) as caught:
        await loader.load([VideoSource(film_uri.split(",")[1], "d")], *POLICY)
    assert caught.value.code == "invalid_video_url"
    await loader.close()


async def test_videos_leave_room_for_pictures() -> None:
    """However many videos come, a process is left for pictures."""
    pool = DecodePool(2)
    limits, choice = VideoLimits(1 << 20, 60), Choice(2.0, None, 4, 768, 1024)
    await asyncio.gather(*(pool.decode(PICTURE, LIMITS) for _ in range(2)))
    clip = Encoded(film(30), base64=False)
    async with pool._videos:
        waiting = [asyncio.create_task(pool.clip(clip, limits, choice)) for _ in range(3)]
        await asyncio.sleep(0)
        assert pool._slots.qsize() == 2
        assert (await pool.decode(PICTURE, LIMITS)).rgb == EXPECTED
    assert len({taken.rgb for taken in await asyncio.gather(*waiting)}) == 1
    await pool.close()
