"""One request inside the engine: its tokens, how far they are computed, and the blocks that hold them. No tensors."""

from array import array
from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from hashlib import blake2b

from omega_server.engine.request import InvalidPrompt, Medium, MediumHeader, Sampling


@dataclass(frozen=True, slots=True)
class Span:
    """A run of placeholder tokens of one medium.

    Attributes:
        start: first position in the prompt.
        end: position after the last.
        medium: index in the prompt's media.
        offset: which of the medium's embeddings stands at `start`. A video has one span for each pair of frames.
    """

    start: int
    end: int
    medium: int
    offset: int


@dataclass(frozen=True)
class Placeholders:
    """How a model marks media in its prompts: token ids, and how many patches of a side merge into one token."""

    image: int
    video: int
    merge: int

    def spans(self, token_ids: Many[int], media: Many[Medium | MediumHeader]) -> tuple[Span, ...]:
        """Find where each medium stands.

        Raises:
            InvalidPrompt: the placeholder tokens do not match the media in kind, number or order.
        """
        kinds = {self.image: "image", self.video: "video"}
        runs = _runs(token_ids, kinds)
        spans = []
        for index, medium in enumerate(media):
            frames, height, width = medium.grid
            rows = frames * height * width // self.merge**2
            offset = 0
            while offset < rows:
                start, end = next(runs, (0, 0))
                if start == end or kinds[token_ids[start]] != medium.kind or offset + end - start > rows:
                    raise InvalidPrompt(f"The placeholder tokens of {medium.kind} {index + 1} do not fit it.")
                spans.append(Span(start, end, index, offset))
                offset += end - start
        if next(runs, None) is not None:
            raise InvalidPrompt("The prompt has placeholder tokens for more pictures or videos than came with it.")
        return tuple(spans)


@dataclass(eq=False)
class Sequence:
    """A request that waits, runs or is finished.

    Attributes:
        id: unique in its engine.
        tokens: of the prompt, then of the answer.
        prompt_length: in tokens.
        sampling: how its answer is chosen.
        arrival: in seconds of the engine's clock.
        spans: where its media stand, by position.
        keys: content hash of each medium.
        salt: of whoever asks; no hash is that of a sequence with another.
        computed: tokens whose keys and values are in the cache.
        blocks: that hold them, in order.
        cached: tokens of the prompt that came from the prefix cache when it first ran.
        embedded: media whose embeddings are at hand.
        hashes: of its full blocks, as far as they were asked for.
    """

    id: int
    tokens: list[int]
    prompt_length: int
    sampling: Sampling
    arrival: float = 0.0
    spans: tuple[Span, ...] = ()
    keys: tuple[bytes, ...] = ()
    salt: bytes = b""
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    cached: int | None = None
    embedded: set[int] = field(default_factory=set)
    hashes: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def answer_length(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.prompt_length

    @property
    def decoding(self) -> bool:
        """Whether only the newest token of the answer is not computed yet."""
        return self.answer_length > 0 and self.computed == len(self.tokens) - 1

    @property
    def needed_media(self) -> list[int]:
        """Media that the uncomputed tokens need, embedded or not, in order."""
        if not self.spans or self.spans[-1].end <= self.computed:
            return []
        return list(dict.fromkeys(span.medium for span in self.spans if span.end > self.computed))

    @property
    def runnable_end(self) -> int:
        """Position up to which the sequence can run with the media that are embedded."""
        for span in self.spans:
            if span.end > self.computed and span.medium not in self.embedded:
                return max(span.start, self.computed)
        return len(self.tokens)

    def block_hashes(self, count: int, block_size: int) -> list[bytes]:
        """Hashes of its first `count` blocks, each over all tokens up to its end, with the content of their media."""
        while len(self.hashes) < count:
            start = len(self.hashes) * block_size
            end = start + block_size
            digest = blake2b(self.hashes[-1] if self.hashes else self.salt, digest_size=16)
            digest.update(array("q", self.tokens[start:end]).tobytes())
            for span in self.spans:
                if span.start < end and span.end > start:
                    # Where the medium's embeddings lie relative to the block tells all of its rows in it.
                    digest.update(self.keys[span.medium])
                    digest.update(array("q", (span.start - start, span.end - start, span.offset)).tobytes())
            self.hashes.append(digest.digest())
        return self.hashes[:count]


def _runs(token_ids: Many[int], kinds: dict[int, str]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each run of equal placeholder tokens."""
    position = 0
    while position < len(token_ids):
        token = token_ids[position]
        start = position
        position += 1
        if token in kinds:
            while position < len(token_ids) and token_ids[position] == token:
                position += 1
            yield start, position
