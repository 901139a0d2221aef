"""The scheduler and its blocks, over random histories and by example. No model, no tensors."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omega_server.engine.block_manager import BlockManager
from omega_server.engine.request import ContextLengthExceeded, Sampling
from omega_server.engine.scheduler import Limits, Scheduler
from omega_server.engine.sequence import Sequence

SIZE = 4


def sequence(number, length, answer, *, first=0, arrival=0.0):
    """A text prompt; equal `first` means a shared beginning."""
    return Sequence(number, [first] * min(length, 9) + [number] * max(0, length - 9), length, Sampling(answer), arrival)


def scheduler(blocks=16, **limits):
    """A scheduler over a small pool."""
    return Scheduler(BlockManager(blocks, SIZE), Limits(**{"max_length": 64, "token_budget": 8, **limits}))


def run_step(subject, token=7):
    """Admit, schedule and commit one step; returns the step and what finished."""
    subject.admit()
    step = subject.schedule()
    tokens = {s.id: token for s in step.sampled}
    return step, subject.commit(step, tokens, dict.fromkeys(tokens, False))


def check(subject):
    """What must hold between any two steps."""
    owned = Counter(block for s in subject.running for block in s.blocks)
    manager = subject.blocks
    assert manager.used == len(owned), "a block leaked, or is used without an owner"
    for s in subject.running:
        assert len(s.blocks) >= manager.blocks_for(s.computed)
        assert s.computed < len(s)
        assert len(set(s.blocks)) == len(s.blocks)
    assert all(not s.blocks and s.computed == 0 for s in subject.waiting)
    # Two owners of a block agree on every token up to its end.
    for block, count in owned.items():
        if count > 1:
            index = [(s, s.blocks.index(block)) for s in subject.running if block in s.blocks]
            assert len({tuple(s.tokens[: (place + 1) * SIZE]) for s, place in index}) == 1


history = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 40), st.integers(1, 12), st.integers(0, 2)),
        st.tuples(st.just("step")),
        st.tuples(st.just("abort"), st.integers(0, 30)),
        st.tuples(st.just("fail"), st.integers(0, 30)),
        st.tuples(st.just("limit"), st.integers(1, 6)),
    ),
    max_size=60,
)


class History:
    """A scheduler and everything that happened to it."""

    def __init__(self, blocks, budget):
        self.subject = scheduler(blocks, token_budget=budget, max_batch_size=4)
        self.budget = budget
        self.expected = {}
        self.finished = {}
        self.added = 0

    def add(self, length, answer, first):
        """A request arrives; one that can never fit is refused."""
        arrived = sequence(self.added, length, answer, first=first)
        if length >= self.subject.max_length:
            with pytest.raises(ContextLengthExceeded):
                self.subject.add(arrived)
        else:
            self.subject.add(arrived)
            self.expected[self.added] = arrived
        self.added += 1

    def step(self):
        """One step; every token is new, so that no two answers agree by chance."""
        self.subject.admit()
        step = self.subject.schedule()
        assert sum(c.end - c.start for c in step.prefills) <= self.budget
        assert all(c.start < c.end for c in step.chunks)
        tokens = {s.id: 1000 * s.id + s.answer_length for s in step.sampled}
        self.finished |= self.subject.commit(step, tokens, dict.fromkeys(tokens, False))

    def remove(self, victim, *, distrust):
        """A reader is gone, or a request has failed."""
        self.subject.remove([victim], distrust=distrust)
        if victim not in self.finished:
            self.expected.pop(victim, None)

    def limit(self, most):
        """A live change."""
        self.subject.limits = Limits(64, self.budget, most)


@given(events=history, blocks=st.integers(11, 30), budget=st.integers(1, 20))
@settings(max_examples=300, deadline=None)
def test_no_leak_and_no_starvation(events, blocks, budget):
    """Over any history every request that was not dropped gets all of its answer, and all blocks are free at the end."""
    past = History(blocks, budget)
    for name, *arguments in events:
        if name in {"abort", "fail"}:
            past.remove(*arguments, distrust=name == "fail")
        else:
            getattr(past, name)(*arguments)
        check(past.subject)
    for _ in range(4000):
        if not past.subject.running and not past.subject.waiting:
            break
        past.step()
        check(past.subject)
    assert set(past.finished) == set(past.expected)
    for s in past.expected.values():
        assert s.answer_length == min(s.sampling.max_tokens, past.subject.max_length - s.prompt_length)
    assert past.subject.blocks.used == 0


def test_answers_come_before_prompts():
    """A running answer gets its token in every step, while a long prompt advances in chunks."""
    subject = scheduler(token_budget=8)
    subject.add(sequence(1, 5, 9))
    run_step(subject)
    subject.add(sequence(2, 30, 9, first=1))
    for done in range(4):
        step, _ = run_step(subject)
        assert [c.sequence.id for c in step.decodes] == [1]
        assert [(c.sequence.id, c.start, c.end) for c in step.prefills] == [(2, 7 * done, min(7 * done + 7, 30))]


def test_arrivals_are_admitted_in_order():
    """A short request does not overtake a long one that waits for blocks."""
    subject = scheduler(blocks=8)
    for number, length in ((1, 20), (2, 24), (3, 2)):
        subject.add(sequence(number, length, 4, first=number))
    run_step(subject)
    assert [s.id for s in subject.running] == [1]
    assert [s.id for s in subject.waiting] == [2, 3]


def test_the_youngest_is_preempted_and_comes_back_first():
    """When the pool is empty, the youngest gives way, and is the first to be admitted again."""
    subject = scheduler(blocks=11, token_budget=64)
    for number in (1, 2):
        subject.add(sequence(number, 16, 20, first=number))
    subject.add(sequence(3, 30, 4, first=3))
    while not subject.preemptions:
        run_step(subject)
    assert [s.id for s in subject.running] == [1]
    assert [s.id for s in subject.waiting] == [2, 3]
    assert subject.waiting[0].answer_length > 0


def test_a_prompt_that_can_never_fit_is_refused_at_once():
    """The user reads how long the prompt is and how long it may be."""
    with pytest.raises(ContextLengthExceeded, match="64 tokens, and the prompt alone has 64"):
        scheduler(blocks=100).add(sequence(1, 64, 1))
    with pytest.raises(ContextLengthExceeded, match="41 tokens"):
        scheduler(blocks=10).add(sequence(1, 50, 1))


def test_an_answer_ends_where_the_context_is_full():
    """A sequence that reaches the longest length finishes with "length"."""
    subject = scheduler(max_length=10)
    subject.add(sequence(1, 8, 50))
    run_step(subject)
    assert run_step(subject)[1] == {1: "length"}


def test_a_shared_prefix_is_computed_once():
    """A prompt with a known beginning starts after it, and still computes at least one token."""
    subject = scheduler(token_budget=64)
    subject.add(sequence(1, 9, 1))
    run_step(subject)
    same = sequence(2, 9, 1)
    subject.add(same)
    step, _ = run_step(subject)
    assert [(c.start, c.end) for c in step.prefills] == [(8, 9)]
    assert same.cached == 8
    exact = sequence(3, 8, 1)
    subject.add(exact)
    run_step(subject)
    assert exact.cached == 4


def test_distrusted_blocks_are_not_shared():
    """What a failed request computed is never a prefix of another."""
    subject = scheduler(token_budget=64)
    subject.add(sequence(1, 9, 5))
    run_step(subject)
    subject.remove([1], distrust=True)
    again = sequence(2, 9, 1)
    subject.add(again)
    run_step(subject)
    assert again.cached == 0


def test_an_idle_engine_waits_for_company():
    """Only before the first step, no longer than the timeout, and not when the batch is full."""
    subject = scheduler(batch_timeout=0.5, max_batch_size=2)
    assert subject.wait(0.0) == 0
    subject.add(sequence(1, 5, 9, arrival=10.0))
    assert subject.wait(10.1) == pytest.approx(0.4)
    assert subject.wait(11.0) == 0
    subject.add(sequence(2, 5, 9, arrival=10.1))
    assert subject.wait(10.1) == 0
    run_step(subject)
    assert subject.wait(10.1) == 0


def test_a_smaller_batch_lets_the_running_finish():
    """A live change to a smaller batch admits nobody until there is room, and stops nobody."""
    subject = scheduler(token_budget=64)
    for number in range(4):
        subject.add(sequence(number, 3, 3))
    run_step(subject)
    subject.limits = Limits(64, 64, max_batch_size=1)
    subject.add(sequence(9, 3, 3))
    run_step(subject)
    assert [s.id for s in subject.running] == [0, 1, 2, 3]
    run_step(subject)
    run_step(subject)
    assert [s.id for s in subject.running] == [9]


def test_the_prefix_cache_forgets_the_least_recently_used():
    """A full pool gives up the prefix that was used longest ago, and its end before its beginning."""
    manager = BlockManager(4, SIZE)
    for name in (b"a", b"b"):
        blocks = manager.allocate(2)
        for index, block in enumerate(blocks):
            manager.publish(block, name + bytes([index]))
        manager.release(blocks)
    kept = manager.match([b"a\0", b"a\1"])
    manager.acquire(kept)
    manager.release(kept)
    manager.allocate(1)
    assert len(manager.match([b"b\0", b"b\1"])) == 1
    assert len(manager.match([b"a\0", b"a\1"])) == 2
    with pytest.raises(ValueError, match="at least one block"):
        BlockManager(0, SIZE)
