"""What is fed, and what must hold whatever comes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import atheris
import orjson

from fuzz import mutate, seeds
from omega_server.media import decode, video
from omega_server.media.clip import Choice, VideoLimits
from omega_server.media.errors import MediaError
from omega_server.wire import large_strings, strict_json
from omega_server.wire.errors import ApiError
from omega_server.wire.requests import ChatRequest, parse_chat, parse_tokenize
from omega_server.wire.unsupported import UNSUPPORTED

PIECE = 7
"""Bytes in which a body arrives."""
large_strings.LARGE = 16  # inputs are small, and the same is to happen with them as with large ones


class Broken(Exception):  # noqa: N818 - what happened
    """Something that must hold does not."""


def bytes_mutated(data: bytes, max_size: int) -> bytes:
    """What libFuzzer would make of an input. The function is looked up late: atheris puts it there when it begins."""
    mutated: bytes = atheris.Mutate(data, max_size)
    return mutated


class Target(ABC):
    """One entrance for bytes from strangers."""

    @abstractmethod
    def seeds(self) -> Sequence[bytes]:
        """Inputs that are in order."""

    @abstractmethod
    def check(self, data: bytes) -> None:
        """Feed it.

        Raises:
            Broken: what comes out is not what is promised. Any other exception is a finding, too.
        """

    def words(self) -> Sequence[str]:
        """What inputs are likely to hold."""
        return ()

    def mutate(self, data: bytes, max_size: int, seed: int) -> bytes:
        """Another input."""
        del seed
        return bytes_mutated(data, max_size)


class Picture(Target):
    """Files of pictures, and their base64 text."""

    LIMITS = decode.Limits(max_pixels=1 << 20, max_size=512, max_bytes=1 << 20)

    def seeds(self) -> Sequence[bytes]:
        """One picture of each format and mode."""
        return seeds.pictures()

    def words(self) -> Sequence[str]:
        """Names of chunks and boxes."""
        return ("IHDR", "PLTE", "tRNS", "IDAT", "eXIf", "acTL", "RIFF", "WEBPVP8X", "VP8L", "ANIM", "ftypavif", "Exif")

    def check(self, data: bytes) -> None:
        """A picture within its limits comes out, or one of our words."""
        for base64 in (False, True):
            try:
                picture = decode.decode(data, self.LIMITS, base64=base64)
            except MediaError as error:
                _check_words(error)
                continue
            if len(picture.rgb) != picture.width * picture.height * 3:
                raise Broken("the pixels are not those of the size")
            if max(picture.width, picture.height) > self.LIMITS.max_size:
                raise Broken("the picture is larger than it may be")


class Video(Target):
    """Files of videos."""

    LIMITS = VideoLimits(max_bytes=1 << 20, max_seconds=10)
    CHOICE = Choice(fps=2.0, count=None, min_frames=4, max_frames=16, max_size=128)

    def seeds(self) -> Sequence[bytes]:
        """One video of each container and codec that can be written here."""
        return seeds.videos()

    def words(self) -> Sequence[str]:
        """Names of boxes."""
        return (
            "ftyp",
            "moov",
            "mvhd",
            "trak",
            "mdia",
            "stbl",
            "stsz",
            "stts",
            "stco",
            "elst",
            "isom",
            "webm",
            "matroska",
        )

    def check(self, data: bytes) -> None:
        """A clip within its limits comes out, or one of our words."""
        try:
            clip = video.decode(data, self.LIMITS, self.CHOICE)
        except MediaError as error:
            _check_words(error)
            return
        if len(clip.rgb) != len(clip.indices) * clip.width * clip.height * 3:
            raise Broken("the pixels are not those of the frames")
        if max(clip.width, clip.height) > self.CHOICE.max_size or len(clip.indices) > self.CHOICE.max_frames:
            raise Broken("the clip is larger than it may be")
        if list(clip.indices) != sorted(clip.indices) or not 0 <= clip.indices[-1] < clip.total or not clip.fps > 0:
            raise Broken("the frames are not those of the video")


class Request(Target):
    """Bodies of requests."""

    def __init__(self) -> None:
        self._words = sorted({*ChatRequest.model_fields, *UNSUPPORTED, *seeds.WORDS})
        self._mutate = mutate.json_mutator(self._words, bytes_mutated)

    def seeds(self) -> Sequence[bytes]:
        """Requests with all their fields."""
        return seeds.requests()

    def words(self) -> Sequence[str]:
        """Names of fields, and values that mean something."""
        return self._words

    def mutate(self, data: bytes, max_size: int, seed: int) -> bytes:
        """Another body."""
        return self._mutate(data, max_size, seed)

    def check(self, data: bytes) -> None:
        """A request comes out, or a 400 with a code that can be sent."""
        self._split(data)
        for parse in (parse_chat, parse_tokenize):
            try:
                parse(strict_json.parse(data))
            except ApiError as error:
                problem = error.problem
                if problem.status != 400 or not problem.code.isidentifier():
                    raise Broken(f"a bad body is a {problem.status} {problem.code}") from error
                orjson.dumps(problem.body())
                if len(problem.message) > 4096:
                    raise Broken("a message repeats what was sent") from error

    def _split(self, data: bytes) -> None:
        """A body whose large strings are taken out while it arrives holds the same as one that is read whole."""
        try:
            whole = strict_json.parse(data)
        except ApiError:
            return
        splitter = large_strings.Splitter()
        for at in range(0, len(data), PIECE):
            splitter.feed(data[at : at + PIECE])
        try:
            split = large_strings.put_back(strict_json.parse(bytes(splitter.finish())), splitter.kept)
        except ApiError as error:
            raise Broken("a body in pieces is refused that is taken whole") from error
        if _without_names(split, splitter.kept) != whole:
            raise Broken("a body in pieces is another than the whole")


def _without_names(value: Any, kept: Mapping[str, Sequence[bytes]]) -> Any:
    """A body with the strings themselves where their names may stand."""
    if isinstance(value, dict):
        return {name: _without_names(item, kept) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_names(item, kept) for item in value]
    return b"".join(kept[value]).decode("utf-8", "surrogatepass") if isinstance(value, str) and value in kept else value


def _check_words(error: MediaError) -> None:
    """What a client is told says nothing of addresses in memory, paths or objects."""
    text = str(error)
    if not error.code.isidentifier() or "0x" in text or "/" in text or "<" in text:
        raise Broken(f"a client is told: {error.code}, {text}") from error


def make(name: str) -> Target:
    """The target of that name."""
    targets: dict[str, type[Picture] | type[Video] | type[Request]] = {
        "picture": Picture,
        "video": Video,
        "request": Request,
    }
    return targets[name]()
