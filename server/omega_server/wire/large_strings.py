"""Large strings are taken out of a JSON body while it arrives, so that no step handles megabytes at once.

Parsing a body of 20 MB in one go keeps the interpreter busy for tens of milliseconds, in whatever thread, and nothing
else answers meanwhile. What arrives is looked at in pieces instead: a string that does not end soon goes into a buffer of
its own, and a short name stands in its place. Most often it is a picture, which nobody here has to put together.
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from omega_server.wire.errors import bad_request

LARGE = 64 * 1024
"""Bytes from which a string that is still arriving is taken out."""
_PART = ("messages", "*", "content", "*")
ADDRESSES = frozenset(
    [
        (*_PART, "image"),
        (*_PART, "video"),
        (*_PART, "image_url", "url"),
        (*_PART, "video_url", "url"),
    ]
)
"""Where a name may stay: who loads pictures and videos knows what it stands for."""

# An escape sequence, a pair of them that stands for one letter, or a letter of UTF-8, of which the rest is to come.
_UNFINISHED = re.compile(
    rb"(?:(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?"
    rb"|[\xc0-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xff][\x80-\xbf]{0,2})\Z"
)
_LONGEST_UNFINISHED = 12


class Splitter:
    """Divides one body.

    Attributes:
        kept: what was taken out, by the name that stands in its place, in the pieces that it came in, none of which ends
            within a letter. To put them together would be one long copy.
    """

    def __init__(self) -> None:
        self.kept: dict[str, list[bytes]] = {}
        self._json = bytearray()
        self._rest = b""
        self._begin: int | None = None  # in _json, of the string that is open
        self._open: list[bytes] | None = None  # what was taken out of it
        self._word = f"kept:{secrets.token_hex(8)}"

    def feed(self, chunk: bytes) -> None:
        """The next piece of the body."""
        chunk = self._rest + chunk if self._rest else chunk
        plain = _without_escaped_quotes(chunk)
        end = _end(plain)
        self._rest = chunk[end:]
        if self._rest:
            chunk, plain = chunk[:end], plain[:end]
        at = 0
        if self._open is not None:
            at = plain.find(b'"')
            self._open.append(chunk if at < 0 else chunk[:at])
            if at < 0:
                return
            self._close(self._open)
        self._go_on(chunk, plain, at)

    def finish(self) -> bytearray:
        """The body, without what was taken out. A string that did not end stays open, so that it is no JSON."""
        self._json += self._rest
        self._rest = b""
        return self._json

    def _close(self, string: list[bytes]) -> None:
        name = f"{self._word}:{len(self.kept)}"
        self.kept[name] = string
        self._json += name.encode()
        self._open = None

    def _go_on(self, chunk: bytes, plain: bytes, at: int) -> None:
        """What comes from `at` on is JSON; see whether a string is open behind it, and large."""
        before = len(self._json) - at
        self._json += chunk[at:] if at else chunk
        quotes = plain.count(b'"', at)
        if quotes:
            was_open = self._begin is not None
            self._begin = before + plain.rfind(b'"') if was_open == (quotes % 2 == 0) else None
        if self._begin is not None and len(self._json) - self._begin > LARGE:
            self._open = [bytes(self._json[self._begin + 1 :])]
            del self._json[self._begin + 1 :]


def _without_escaped_quotes(chunk: bytes) -> bytes:
    """The same, as long, but each quote in it begins or ends a string and each backslash begins an escape sequence."""
    return chunk.replace(rb"\\", b"__").replace(rb"\"", b"__") if b"\\" in chunk else chunk


def _end(plain: bytes) -> int:
    """Where the last letter ends that is complete."""
    unfinished = _UNFINISHED.search(plain, max(0, len(plain) - _LONGEST_UNFINISHED))
    return unfinished.start() if unfinished else len(plain)


def put_back(value: Any, kept: dict[str, list[bytes]]) -> Any:
    """A parsed body in which names stand only where a picture's or video's address does. Takes long; call it in a thread.

    Args:
        value: the body.
        kept: what was taken out of it; of what stays there, escape sequences become what they stand for.

    Raises:
        ApiError: 400 invalid_json, what was taken out is no part of a JSON string.
    """
    return _put_back(value, kept, ())


def _put_back(value: Any, kept: dict[str, list[bytes]], path: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        whole = {_text(name, kept): _put_back(item, kept, (*path, name)) for name, item in value.items()}
        if len(whole) < len(value):
            raise bad_request("invalid_json", "A name occurs twice in one object.")
        return whole
    if isinstance(value, list):
        return [_put_back(item, kept, (*path, "*")) for item in value]
    if not isinstance(value, str) or value not in kept:
        return value
    if path not in ADDRESSES:
        return _text(value, kept)
    kept[value] = [_plain(piece) if b"\\" in piece else piece for piece in kept[value]]
    return value


def _text(value: str, kept: Mapping[str, Sequence[bytes]]) -> str:
    return "".join(map(_letters, kept[value])) if value in kept else value


def _plain(piece: bytes) -> bytes:
    if rb"\\" not in piece:  # so that each backslash begins an escape sequence; most often all of them are slashes
        piece = piece.replace(rb"\/", b"/")
    # What is no letter is no address either.
    return _letters(piece).encode("utf-8", "surrogatepass") if b"\\" in piece else piece


def _letters(piece: bytes) -> str:
    """What a part of a JSON string stands for."""
    try:
        text: str = json.loads(f'"{piece.decode()}"')
    except UnicodeDecodeError as error:
        raise bad_request("invalid_json", "The body is not UTF-8.") from error
    except json.JSONDecodeError as error:
        raise bad_request("invalid_json", f"A string in the body is not JSON: {error.msg}.") from error
    return text
