"""What runs in the next step. Pure: no tensors, no clock, no I/O; a step is decided from the sequences and the blocks alone.

In every step all sequences that are answering get one token each, so that running answers never wait for a long prompt.
What they leave of the step's `token_budget` (a quarter of it at least) goes to prompts, in chunks, in the order of arrival.
Waiting sequences are admitted strictly in that order, when there are blocks for all of their tokens. When an answer
needs a block and none is left, the youngest running sequence gives up its blocks and is computed again later: the
oldest always goes on, so everybody finishes. So it does where memory runs out beside the cache; then no more than are left
may run until one of them ends.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from omega_server.engine.block_manager import BlockManager
from omega_server.engine.pace import Pace
from omega_server.engine.request import ContextLengthExceeded, FinishReason
from omega_server.engine.sequence import Sequence


@dataclass(frozen=True)
class Limits:
    """What bounds a step.

    Attributes:
        max_length: most tokens of a sequence, prompt and answer together. LIVE fields follow.
        token_budget: of a step, in tokens.
        max_batch_size: most sequences that run at the same time.
        batch_timeout: how long an idle engine waits for more requests before it begins, in seconds.
    """

    max_length: int
    token_budget: int = 512
    max_batch_size: int = 32
    batch_timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens [start, end) of a sequence, to be computed in one step.

    Attributes:
        sequence: whose tokens.
        start: first position.
        end: position after the last.
        samples: whether the step yields the sequence's next token.
    """

    sequence: Sequence
    start: int
    end: int
    samples: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What runs in one forward pass.

    Attributes:
        decodes: chunks of one token, of sequences that are answering.
        prefills: chunks of prompts, and of answers that are computed again.
    """

    decodes: tuple[Chunk, ...]
    prefills: tuple[Chunk, ...]

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """All of it, in the order of the packed tokens."""
        return self.decodes + self.prefills

    @property
    def prompt_tokens(self) -> int:
        """Tokens of prompts in it."""
        return sum(chunk.end - chunk.start for chunk in self.prefills)

    @property
    def sampled(self) -> tuple[Sequence, ...]:
        """Sequences that get a token, in the order of the logits."""
        return tuple(chunk.sequence for chunk in self.chunks if chunk.samples)


class Scheduler:
    """Waiting and running sequences, and the rules by which they move on."""

    def __init__(self, blocks: BlockManager, limits: Limits) -> None:
        self.blocks = blocks
        self.limits = limits
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # the oldest first
        self.preemptions = 0
        self._most: float = math.inf  # that may run, since memory ran out
        self.pace = Pace()

    @property
    def max_length(self) -> int:
        """Most tokens that a sequence can have, in this model and this cache."""
        # The newest token of a sequence is not in the cache yet.
        return min(self.limits.max_length, self.blocks.total * self.blocks.block_size + 1)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence.

        Raises:
            ContextLengthExceeded: it could never run.
        """
        check_length(len(sequence), self.max_length)
        self.waiting.append(sequence)

    def wait(self, now: float) -> float:
        """Seconds for which an idle engine still waits for more requests; `now` is by the clock of the arrivals."""
        if self.running or not self.waiting or len(self.waiting) >= self.limits.max_batch_size:
            return 0.0
        return max(0.0, self.waiting[0].arrival + self.limits.batch_timeout - now)

    def admit(self) -> list[Sequence]:
        """Let waiting sequences run, as far as there is room; returns those that begin or begin again."""
        admitted = []
        while self.waiting and len(self.running) < min(self.limits.max_batch_size, self._most):
            sequence = self.waiting[0]
            # At least one token is computed, because it gives the logits of the next.
            reusable = (len(sequence) - 1) // self.blocks.block_size
            shared = self.blocks.match(sequence.block_hashes(reusable, self.blocks.block_size))
            needed = self.blocks.blocks_for(len(sequence)) - len(shared)
            if not self.blocks.can_allocate(needed, shared):
                break
            self.waiting.popleft()
            self.blocks.acquire(shared)
            sequence.blocks = shared + self.blocks.allocate(needed)
            sequence.computed = len(shared) * self.blocks.block_size
            if sequence.cached is None:
                sequence.cached = sequence.computed
            self.running.append(sequence)
            admitted.append(sequence)
        return admitted

    def schedule(self) -> Step:
        """Choose what runs now. Gives answers their next block; may preempt."""
        decodes = [
            Chunk(sequence, sequence.computed, len(sequence), samples=True)
            for sequence in [s for s in self.running if s.decoding]
            # Without blocks, an older one has just preempted it.
            if sequence.blocks and self._grow(sequence)
        ]
        prompts = [s for s in self.running if not s.decoding and s.runnable_end > s.computed]
        room = max(self.limits.token_budget - len(decodes), self.limits.token_budget // 4, 1)
        budget = self.pace.tokens(len(decodes), len(prompts), room)
        prefills = []
        for sequence in prompts:
            end = min(sequence.runnable_end, sequence.computed + budget)
            if end > sequence.computed:
                prefills.append(Chunk(sequence, sequence.computed, end, samples=end == len(sequence)))
                budget -= end - sequence.computed
        return Step(tuple(decodes), tuple(prefills))

    def commit(self, step: Step, tokens: Mapping[int, int], stops: Mapping[int, bool]) -> dict[int, FinishReason]:
        """Take over what a step computed.

        Args:
            step: that was run.
            tokens: the new token of each sampled sequence, by sequence id.
            stops: whether that token ends the answer.

        Returns:
            why each sequence that is finished now is finished. They own nothing any more.
        """
        finished: dict[int, FinishReason] = {}
        for chunk in step.chunks:
            sequence = chunk.sequence
            sequence.computed = chunk.end
            self._publish(chunk)
            if sequence.id in tokens:
                sequence.tokens.append(tokens[sequence.id])
                if stops[sequence.id]:
                    finished[sequence.id] = "stop"
                elif sequence.answer_length >= sequence.sampling.max_tokens or len(sequence) >= self.max_length:
                    finished[sequence.id] = "length"
        self.remove(finished)
        return finished

    def remove(self, ids: Iterable[int], *, distrust: bool = False) -> list[Sequence]:
        """Drop sequences, wherever they are, and free their blocks at once.

        Args:
            ids: of the sequences; unknown ones are fine.
            distrust: what they computed is wrong and must not be shared.
        """
        gone = set(ids)
        if not gone:
            return []
        removed = [s for s in self.running if s.id in gone]
        for sequence in removed:
            if distrust:
                self.blocks.forget(sequence.blocks)
            self._release(sequence)
        self.running = [s for s in self.running if s.id not in gone]
        self._most += len(removed)
        if any(s.id in gone for s in self.waiting):
            removed += [s for s in self.waiting if s.id in gone]
            self.waiting = deque(s for s in self.waiting if s.id not in gone)
        return removed

    def relent(self) -> bool:
        """Preempt the youngest, because a step needs memory that is not there; False if it is the only one."""
        if len(self.running) < 2:
            return False
        self._preempt()
        self._most = len(self.running)
        return True

    def _preempt(self) -> Sequence:
        youngest = self.running.pop()
        self._release(youngest)
        self.waiting.appendleft(youngest)
        self.preemptions += 1
        return youngest

    def _grow(self, sequence: Sequence) -> bool:
        """Give a sequence blocks for all of its tokens; False if it was itself preempted for want of them."""
        missing = self.blocks.blocks_for(len(sequence)) - len(sequence.blocks)
        while missing > 0 and not self.blocks.can_allocate(missing):
            if self._preempt() is sequence:
                return False
        if missing > 0:
            sequence.blocks += self.blocks.allocate(missing)
        return True

    def _publish(self, chunk: Chunk) -> None:
        size = self.blocks.block_size
        first, last = chunk.start // size, chunk.end // size
        if last > first:
            hashes = chunk.sequence.block_hashes(last, size)
            for index in range(first, last):
                self.blocks.publish(chunk.sequence.blocks[index], hashes[index])

    def _release(self, sequence: Sequence) -> None:
        self.blocks.release(sequence.blocks)
        sequence.blocks = []
        sequence.computed = 0
        sequence.embedded.clear()


def check_length(tokens: int, max_length: int) -> None:
    """Refuse a prompt that leaves no room for an answer.

    Raises:
        ContextLengthExceeded: with the numbers, for the user.
    """
    if tokens >= max_length:
        raise ContextLengthExceeded(
            f"This model's maximum context length is {max_length} tokens, and the prompt alone has {tokens}. "
            "Shorten the messages, or send fewer or smaller pictures."
        )
