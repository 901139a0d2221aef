"""A decoding process: jobs on standard input, pictures on standard output.

A message is a line of JSON, then as many raw bytes as its `length` says. Nothing is pickled: a file that takes this
process over must not take the server too.
"""

import json
import resource
import signal
import sys
from typing import BinaryIO

from omega_server.media.decode import Limits, decode
from omega_server.media.errors import MediaError

MEMORY_PER_PIXEL = 24
"""Address space per permitted pixel, in bytes: RGBA, a copy, the white ground and the composite, with room to spare."""
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
        limits = Limits(head["max_pixels"], head["max_size"], head["max_bytes"])
        memory = BASE_MEMORY + 2 * limits.max_bytes + MEMORY_PER_PIXEL * limits.max_pixels
        resource.setrlimit(resource.RLIMIT_AS, (memory, resource.RLIM_INFINITY))
        _answer(results, data, limits, base64=head["base64"])


def _answer(results: BinaryIO, data: bytes, limits: Limits, *, base64: bool) -> None:
    try:
        picture = decode(data, limits, base64=base64)
        body = picture.rgb
        head: dict[str, int | str] = {"width": picture.width, "height": picture.height, "length": len(body)}
    except MediaError as error:
        head, body = {"code": error.code, "message": str(error), "length": 0}, b""
    results.write(json.dumps(head).encode() + b"\n")
    results.write(body)
    results.flush()


if __name__ == "__main__":
    main()
