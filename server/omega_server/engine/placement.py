"""Which engine a request goes to. Pure: from what each engine has to do, and from what it has been given before.

A request costs an engine the tokens that it must compute and the patches that it must look at. What the engine still knows
costs nothing: the same beginning, in blocks under the very hashes of the engine's own prefix cache, and the same
pictures. The request goes where it would be done first, so that it follows its conversation and its pictures until
that engine has more to do than they would save.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from omega_server.engine import sequence
from omega_server.engine.pixels import SharedPrompt
from omega_server.engine.request import Sampling
from omega_server.engine.sequence import Placeholders

_MEDIA = 512  # that an engine is thought to remember


@dataclass(frozen=True, slots=True)
class Sight:
    """A medium, as far as it matters here.

    Attributes:
        key: of its content.
        patches: that the vision tower must look at.
        end: position in the prompt after its last placeholder.
    """

    key: bytes
    patches: int
    end: int


@dataclass(frozen=True)
class Outline:
    """What of a prompt decides where it is cheapest.

    Attributes:
        tokens: of the prompt.
        block_size: in tokens.
        hashes: of its full blocks, as the engines have them.
        sights: its media, in order.
    """

    tokens: int
    block_size: int
    hashes: tuple[bytes, ...]
    sights: tuple[Sight, ...]

    @classmethod
    def of(cls, prompt: SharedPrompt, placeholders: Placeholders, block_size: int) -> "Outline":
        """The outline of a prompt.

        Raises:
            InvalidPrompt: its placeholders do not match its media.
        """
        spans = placeholders.spans(prompt.token_ids, prompt.media)
        tokens = len(prompt.token_ids)
        ends = {span.medium: span.end for span in spans}
        whole = sequence.Sequence(
            id=0,
            tokens=list(prompt.token_ids),
            prompt_length=tokens,
            sampling=Sampling(1),
            spans=spans,
            keys=tuple(medium.key for medium in prompt.media),
            salt=prompt.salt,
        )
        return cls(
            tokens=tokens,
            block_size=block_size,
            hashes=tuple(whole.block_hashes(tokens // block_size, block_size)),
            sights=tuple(Sight(m.key, m.shape[0], ends[index]) for index, m in enumerate(prompt.media)),
        )


class Known:
    """What an engine has been given, and has most likely kept: the last of it, as much as its caches can hold."""

    def __init__(self, blocks: int) -> None:
        """Remember so many blocks."""
        self._most_blocks = blocks
        self._blocks: OrderedDict[bytes, None] = OrderedDict()
        self._media: OrderedDict[bytes, None] = OrderedDict()

    def note(self, outline: Outline) -> None:
        """Take note that the engine is given a prompt."""
        _remember(self._blocks, outline.hashes, self._most_blocks)
        _remember(self._media, (sight.key for sight in outline.sights), _MEDIA)

    def has_seen(self, outline: Outline) -> bool:
        """Whether the engine was given all pictures of a prompt before."""
        return all(sight.key in self._media for sight in outline.sights)

    def cost(self, outline: Outline) -> int:
        """Tokens and patches of a prompt that the engine would have to compute."""
        known = 0
        for digest in outline.hashes:
            if digest not in self._blocks:
                break
            known += outline.block_size
        unseen = (s.patches for s in outline.sights if s.end > known and s.key not in self._media)
        return outline.tokens - known + sum(unseen)


def choose(outstanding: Sequence[int], costs: Sequence[int]) -> int:
    """The engine that would be done with a request first; of equals the one with less to do, then the first.

    Args:
        outstanding: what each engine has to do, in tokens.
        costs: of the request to each engine, in tokens.
    """
    return min(range(len(costs)), key=lambda index: (outstanding[index] + costs[index], outstanding[index]))


def _remember(memory: "OrderedDict[bytes, None]", keys: Iterable[bytes], most: int) -> None:
    for key in keys:
        memory[key] = None
        memory.move_to_end(key)
    while len(memory) > most:
        memory.popitem(last=False)
