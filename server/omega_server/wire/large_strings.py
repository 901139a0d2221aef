"""Large data: URIs are taken out of a JSON body while it arrives, so that no step handles megabytes at once.

Parsing a body of 20 MB in one go keeps the interpreter busy for tens of milliseconds, in whatever thread, and nothing
else answers meanwhile. What arrives is looked at in pieces instead: a string that begins with data: and does not end
soon goes into a buffer of its own, and a short name stands in its place.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from omega_server.wire.errors import bad_request

LARGE = 64 * 1024
"""Bytes from which a string that is still arriving is taken out."""
ADDRESSES = frozenset({"url", "image", "video"})
"""Fields in which a name may stay: who loads pictures and videos knows what it stands for."""
_OPENING = b'"data:'


class Splitter:
    """Divides one body.

    Attributes:
        kept: what was taken out, by the name that stands in its place, in the pieces that it came in. To put them
            together would be one long copy.
    """

    def __init__(self) -> None:
        self.kept: dict[str, list[bytes]] = {}
        self._json = bytearray()
        self._open: list[bytes] | None = None
        self._word = f"kept:{secrets.token_hex(8)}"

    def feed(self, chunk: bytes) -> None:
        """The next piece of the body."""
        if self._open is not None:
            chunk = self._go_on(self._open, chunk)
        self._json += chunk
        # In JSON a quote right before `data:` begins a string, unless it is escaped. If no quote follows, it is open.
        at = self._json.rfind(b'"')
        if (
            at >= 0
            and len(self._json) - at > LARGE
            and self._json.startswith(_OPENING, at)
            and not self._escaped(at)
            and self._json.find(b"\\", at) < 0
        ):
            self._open = [bytes(self._json[at + 1 :])]
            del self._json[at + 1 :]

    def finish(self) -> bytearray:
        """The body, without what was taken out."""
        if self._open is not None:
            self._json += b"".join(self._open)
        return self._json

    def _go_on(self, string: list[bytes], chunk: bytes) -> bytes:
        """Continue a string that is taken out; returns what comes after it."""
        end = chunk.find(b'"')
        if chunk.find(b"\\", 0, end if end >= 0 else len(chunk)) >= 0:  # it is not so plain: the parser must read it
            self._json += b"".join(string)
            self._open = None
            return chunk
        if end < 0:
            string.append(chunk)
            return b""
        string.append(chunk[:end])
        name = f"{self._word}:{len(self.kept)}"
        self.kept[name] = string
        self._json += name.encode()
        self._open = None
        return chunk[end:]

    def _escaped(self, at: int) -> bool:
        before = at
        while before > 0 and self._json[before - 1] == ord("\\"):
            before -= 1
        return (at - before) % 2 == 1


def put_back(value: Any, kept: Mapping[str, list[bytes]]) -> Any:
    """A parsed body in which names stand only where a picture's or video's address does.

    Raises:
        ApiError: 400 invalid_json, what must be put back is not text.
    """
    if isinstance(value, dict):
        return {
            _text(name, kept): item if name in ADDRESSES and isinstance(item, str) else put_back(item, kept)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [put_back(item, kept) for item in value]
    return _text(value, kept) if isinstance(value, str) else value


def _text(value: str, kept: Mapping[str, list[bytes]]) -> str:
    if value not in kept:
        return value
    data = b"".join(kept[value])
    if min(data) < 0x20:
        raise bad_request("invalid_json", "A string in the body holds a control character.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise bad_request("invalid_json", "The body is not UTF-8.") from error
