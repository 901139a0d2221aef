"""The scheduler and its blocks, over random histories and by example. No model, no tensors."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omega_server.engine.block_manager import BlockManager
from omega_server.engine.request import ContextLengthExceeded, Sampling
from omega_server.engine.scheduler import Limits, Scheduler
from omega_server.engine.sequence import Sequence, Span

SIZE = 4
PICTURES = ((), ((1, 4, b"a"),), ((1, 4, b"a"), (6, 11, b"b")), ((1, 4, b"a"), (6, 11, b"c")))


def sequence(number, length, answer, *, first=0, arrival=0.0, pictures=()):
    """A prompt; equal `first` means a shared beginning. Pictures are (start, end, key)."""
    return Sequence(
        number,
        [first] * min(length, 9) + [number] * max(0, length - 9),
        length,
        Sampling(answer),
        arrival,
        spans=tuple(Span(start, end, index, 0) for index, (start, end, _) in enumerate(pictures)),
        keys=tuple(key for _, _, key in pictures),
    )


def scheduler(blocks=16, **limits):
    """A scheduler over a small pool."""
    return Scheduler(BlockManager(blocks, SIZE), Limits(**{"max_length": 64, "token_budget": 8, **limits}))


def run_step(subject, token=7):
    """Admit, schedule and commit one step; returns the step and what finished."""
    subject.admit()
    step = subject.schedule()
    tokens = {s.id: token for s in step.sampled}
    return step, subject.commit(step, tokens, dict.fromkeys(tokens, False))


def content(subject, tokens):
    """Everything that the first so many tokens of a sequence depend on."""
    seen = [(span, subject.keys[span.medium]) for span in subject.spans if span.start < tokens]
    return subject.tokens[:tokens], seen


def check(subject):
    """What must hold between any two steps."""
    owners = {}
    for s in subject.running:
        assert len(s.blocks) >= subject.blocks.blocks_for(s.computed)
        assert s.computed < len(s)
        for place, block in enumerate(s.blocks):
            owners.setdefault(block, []).append((s, place))
    assert subject.blocks.used == len(owners), "a block leaked, or is used without an owner"
    for shared in owners.values():
        if len(shared) > 1:
            assert len({s.id for s, _ in shared}) == len(shared), "a sequence has a block twice"
            (one, place), *others = shared
            agreed = content(one, (place + 1) * SIZE)
            assert all(place == other and content(s, (place + 1) * SIZE) == agreed for s, other in others)
    assert all(not s.blocks and s.computed == 0 and not s.embedded for s in subject.waiting)
    order = [s.id for s in (*subject.running, *subject.waiting)]
    assert order == sorted(order), "one overtook another"


history = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 40), st.integers(1, 12), st.integers(0, 2), st.integers(0, 3)),
        st.tuples(st.just("step")),
        st.tuples(st.just("see"), st.integers(0, 5)),
        st.tuples(st.just("abort"), st.integers(0, 30)),
        st.tuples(st.just("fail"), st.integers(0, 30)),
        st.tuples(st.just("limit"), st.integers(1, 6)),
        st.tuples(st.just("relent")),
    ),
    max_size=60,
)


def random_history(dice):
    """As `history`, but shorter, and a hundred times as fast to make."""
    events = []
    for _ in range(dice.randint(3, 24)):
        name = dice.choices(("step", "add", "see", "abort", "fail", "limit", "relent"), (9, 6, 4, 1, 1, 1, 1))[0]
        arguments = {
            "add": (dice.randint(1, 40), dice.randint(1, 12), dice.randint(0, 2), dice.randint(0, 3)),
            "see": (dice.randint(0, 5),),
            "abort": (dice.randint(0, 9),),
            "fail": (dice.randint(0, 9),),
            "limit": (dice.randint(1, 6),),
        }
        events.append((name, *arguments.get(name, ())))
    return events


class History:
    """A scheduler and everything that happened to it. With `seconds`, steps of answers alone and of prompts take times."""

    def __init__(self, blocks, budget, seconds=None):
        self.subject = scheduler(blocks, token_budget=budget, max_batch_size=4)
        self.budget = budget
        self.seconds = seconds
        self.expected = {}
        self.finished = {}
        self.added = 0
        self.passed_over = 0

    def play(self, events):
        """All events, and then steps until everybody is finished."""
        for name, *arguments in events:
            getattr(self, name)(*arguments)
            check(self.subject)
        self.limit(4)
        for _ in range(4000):
            if not self.subject.running and not self.subject.waiting:
                break
            for place in range(len(self.subject.running)):
                self.see(place)
            self.step()
            check(self.subject)
        assert set(self.finished) == set(self.expected)
        for s in self.expected.values():
            assert s.answer_length == min(s.sampling.max_tokens, self.subject.max_length - s.prompt_length)
        assert self.subject.blocks.used == 0

    def add(self, length, answer, first, pictures):
        """A request arrives, with the same pictures as others or with others; one that can never fit is refused."""
        fit = [picture for picture in PICTURES[pictures] if picture[1] < length]
        arrived = sequence(self.added, length, answer, first=first, pictures=fit)
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
        oldest = self.subject.running[0] if self.subject.running else None
        step = self.subject.schedule()
        assert step.prompt_tokens <= self.budget
        assert all(c.start < c.end <= c.sequence.runnable_end for c in step.chunks)
        if oldest is not None and oldest.computed < oldest.runnable_end:
            moves = any(c.sequence is oldest for c in step.chunks)
            self.passed_over = 0 if moves else self.passed_over + 1
            assert self.passed_over <= 1, "the oldest stands still"
        tokens = {s.id: 1000 * s.id + s.answer_length for s in step.sampled}
        self.finished |= self.subject.commit(step, tokens, dict.fromkeys(tokens, False))
        if self.seconds and step.chunks:
            fixed, token = self.seconds
            self.subject.pace.learn(len(step.decodes), step.prompt_tokens, fixed + token * step.prompt_tokens)

    def see(self, place):
        """The vision tower has done the next picture of a running sequence."""
        if place < len(self.subject.running):
            s = self.subject.running[place]
            s.embedded.update([i for i in s.needed_media if i not in s.embedded][:1])

    def abort(self, victim, *, distrust=False):
        """A reader is gone."""
        self.subject.remove([victim], distrust=distrust)
        if victim not in self.finished:
            self.expected.pop(victim, None)

    def fail(self, victim):
        """A request has failed."""
        self.abort(victim, distrust=True)

    def limit(self, most):
        """A live change."""
        self.subject.limits = Limits(64, self.budget, most)

    def relent(self):
        """A step needed memory that was not there."""
        before = len(self.subject.running)
        assert self.subject.relent() == (before > 1)


@given(events=history, blocks=st.integers(11, 30), budget=st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_no_leak_and_no_starvation(events, blocks, budget):
    """Over any history every request that was not dropped gets all of its answer, and all blocks are free at the end."""
    History(blocks, budget).play(events)


def test_no_leak_and_no_starvation_in_ten_thousand_histories():
    """The same over 10,000 short histories from seeds, on machines on which prompts cost little or much."""
    for seed in range(10_000):
        dice = random.Random(seed)
        past = History(dice.randint(11, 20), dice.randint(1, 20), dice.choice((None, (1.0, 0.01), (1.0, 0.5))))
        try:
            past.play(random_history(dice))
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


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
