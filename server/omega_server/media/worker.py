"""A decoding process: jobs on standard input, pixels on standard output.

A message is a line of JSON, then as many raw bytes as its `length` says. Nothing is pickled: a file that takes this
process over must not take the server too.
"""

import json
import resource
import signal
import sys
from dataclasses import asdict
from typing import Any

from omega_server.media.clip import MAX_TAKEN_PIXELS, Choice, VideoLimits
from omega_server.media.decode import Limits, decode
from omega_server.media.errors import MediaError

MEMORY_PER_PIXEL = 24
"""Address space per permitted pixel, in bytes: RGBA, a copy, the white ground and the composite, with room to spare."""
VIDEO_MEMORY = (2 << 30) + 2 * 3 * MAX_TAKEN_PIXELS
"""Address space for a video, in bytes: what its decoder holds of the largest frames, and twice what is taken."""
BASE_MEMORY = 1 << 30
"""Address space for everything else, in bytes."""


def main() -> None:
    """Decode until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole group; the server decides what they mean
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    jobs, results = sys.stdin.buffer, sys.stdout.buffer
    while line := jobs.readline():
        head = json.loads(line)
        data = jobs.read(head["length"])
        try:
            answer, body = _clip(head, data) if "choice" in head else _picture(head, data)
        except MediaError as error:
            answer, body = {"code": error.code, "message": str(error)}, b""
        results.write(json.dumps({**answer, "length": len(body)}).encode() + b"\n")
        results.write(body)
        results.flush()


def _picture(head: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    limits = Limits(**head["limits"])
    _limit_memory(2 * limits.max_bytes + MEMORY_PER_PIXEL * limits.max_pixels)
    picture = decode(data, limits, base64=head["base64"])
    return {"width": picture.width, "height": picture.height}, picture.rgb


def _clip(head: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    from omega_server.media import video  # noqa: PLC0415 - FFmpeg is large, and most processes never see a video

    limits = VideoLimits(**head["limits"])
    _limit_memory(4 * limits.max_bytes + VIDEO_MEMORY)  # base64, file, packets
    clip = video.decode(data, limits, Choice(**head["choice"]), base64=head["base64"])
    return asdict(clip.header), clip.rgb


def _limit_memory(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BASE_MEMORY + memory, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
