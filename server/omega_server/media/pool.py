"""Decoding processes: started with the server, killed when something takes too long or the caller loses interest, and started again
when next needed.
"""

import asyncio
import io
import json
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from omega_server.media.clip import Choice, Clip, VideoLimits
from omega_server.media.decode import Limits
from omega_server.media.errors import MediaError
from omega_server.media.fetch import Encoded
from omega_server.media.picture import Picture

logger = logging.getLogger(__name__)

SECONDS = 20.0
"""Longest time for one picture."""
VIDEO_SECONDS = 60.0
"""Longest time for one video."""
PIECE = 256 * 1024
"""Bytes of pixels that are read at once."""


class DecodePool:
    """A few processes that turn files into pixels, one at a time each."""

    def __init__(self, size: int) -> None:
        """A pool of at most `size` processes, none of which runs yet."""
        self._slots: asyncio.LifoQueue[Process | None] = asyncio.LifoQueue()
        self._videos = asyncio.Semaphore(max(1, size // 2))  # a picture need not wait for videos alone
        self._processes: set[Process] = set()
        for _ in range(size):
            self._slots.put_nowait(None)

    async def start(self) -> None:
        """Start the processes that do not run. Each start holds up the event loop until the system has run it, which takes
        long when it has much to do: better now than under the first requests.

        Raises:
            OSError: one cannot be started.
        """
        for slot in [self._slots.get_nowait() for _ in range(self._slots.qsize())]:
            self._slots.put_nowait(slot or await self._start())

    async def decode(self, encoded: Encoded, limits: Limits) -> Picture:
        """The picture in a file.

        Raises:
            MediaError: it cannot be used, took too long, or broke its process.
        """
        job = {"limits": asdict(limits), "base64": encoded.base64}
        broken = MediaError("image_parse_error", "The picture could not be decoded.")
        answer, rgb = await self._do(job, encoded.pieces, SECONDS, broken)
        return Picture(answer["width"], answer["height"], rgb)

    async def clip(self, encoded: Encoded, limits: VideoLimits, choice: Choice) -> Clip:
        """The chosen frames of a video.

        Raises:
            MediaError: as above.
        """
        job = {"limits": asdict(limits), "choice": asdict(choice), "base64": encoded.base64}
        broken = MediaError("video_parse_error", "The video could not be decoded.")
        async with self._videos:
            answer, rgb = await self._do(job, encoded.pieces, VIDEO_SECONDS, broken)
        size, indices = (answer["width"], answer["height"]), tuple(answer["indices"])
        return Clip(*size, rgb, indices, answer["total"], answer["fps"], answer["exact"])

    async def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            _kill(process)
        await asyncio.gather(*(process.wait() for process in self._processes))

    async def _do(
        self, job: dict[str, Any], pieces: Sequence[bytes], seconds: float, broken: MediaError
    ) -> tuple[dict[str, Any], bytes]:
        """Have a process do a job; `broken` is what is wrong with data that breaks it."""
        process = await self._slots.get()
        done = False
        try:
            if process is None or process.returncode is not None:
                process = await self._start()
            async with asyncio.timeout(seconds):
                answer = await _exchange(process, job, pieces)
            done = True
        except MediaError:
            done = True
            raise
        except (TimeoutError, OSError, asyncio.IncompleteReadError, ValueError) as error:
            logger.warning("%s: a decoding process was broken: %s", broken.code, type(error).__name__)
            raise broken from error
        finally:
            # A process whose job was not finished is of no more use: its pipes hold a half of something.
            if process is not None and not done:
                _kill(process)
                process = None
            self._slots.put_nowait(process)
        return answer

    async def _start(self) -> Process:
        # None of our environment: the process has no use for keys and tokens.
        environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1", "MALLOC_ARENA_MAX": "1"}
        command = (sys.executable, "-m", "omega_server.media.worker")
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environment, limit=65536)
        self._processes = {other for other in self._processes if other.returncode is None} | {process}
        return process


def _kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()


async def _exchange(process: Process, job: dict[str, Any], pieces: Sequence[bytes]) -> tuple[dict[str, Any], bytes]:
    if process.stdin is None or process.stdout is None:
        raise OSError("no pipes")
    process.stdin.write(json.dumps({**job, "length": sum(map(len, pieces))}).encode() + b"\n")
    for piece in pieces:  # all at once would be put together first, which holds up the event loop when there is much
        process.stdin.write(piece)
        await process.stdin.drain()
    answer = json.loads(await process.stdout.readline())
    if "code" in answer:
        raise MediaError(answer["code"], answer["message"])
    return answer, await _read(process.stdout, answer["length"])


async def _read(stream: asyncio.StreamReader, length: int) -> bytes:
    """So many bytes. The stream's own way ends with a copy of them all, which takes long for a video."""
    data = io.BytesIO()
    while data.tell() < length:
        piece = await stream.read(min(PIECE, length - data.tell()))
        if not piece:
            raise asyncio.IncompleteReadError(b"", length)
        data.write(piece)
    return data.getvalue()  # which is what it wrote to, no copy
