"""The vision tower beside running answers: nobody waits for it but who needs its picture, and it computes nothing twice."""

import logging
import threading
import time
from dataclasses import replace

import pytest

from omega_server.engine.request import EngineFailed, Sampling


class Tower:
    """Stands before the real tower: notes what comes in, and holds it up while it is closed."""

    def __init__(self, tower):
        self.forward = tower.forward
        self.patches = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, pixels, **arguments):
        self.patches.append(len(pixels))
        assert self.open.wait(60)
        return self.forward(pixels, **arguments)


@pytest.fixture
def tower(dense, monkeypatch):
    """The dense model's tower, with a gate before it, open at first."""
    tower = Tower(dense.model.model.visual)
    monkeypatch.setattr(dense.model.model.visual, "forward", tower)
    yield tower
    tower.open.set()


@pytest.fixture(scope="module")
def one(dense):
    """A prompt with a picture that nobody else has."""
    return dense.case("one", 8, dense.inputs("What is it?", [(30, 96, 64)]))


@pytest.fixture(scope="module")
def other(dense):
    """A prompt with another picture, of another size."""
    return dense.case("other", 8, dense.inputs("What is it?", [(31, 160, 96)]))


def size(case):
    """Patches of a case's picture."""
    return len(case.prompt.media[0].pixels)


def ids(outputs):
    """Token ids of what a request got."""
    return tuple(token.id for token in outputs)


def steps(engine, count):
    """So many steps; what each request got in them."""
    got = {}
    for _ in range(count):
        for number, token in engine.step():
            got.setdefault(number, []).append(token)
    return got


def test_answers_go_on_while_the_tower_is_at_work(dense, dense_cases, one, tower, run):
    """With a picture stuck in the tower, a running answer and a new one come to their ends, and then so does its own."""
    engine = dense.engine()
    running, new = dense_cases[1], dense_cases[2]
    engine.submit(1, running.prompt, Sampling(16))
    got = {1: steps(engine, 2)[1]}
    tower.open.clear()
    engine.submit(2, one.prompt, Sampling(8))
    engine.submit(3, new.prompt, Sampling(16))
    for number, tokens in steps(engine, 60).items():
        got.setdefault(number, []).extend(tokens)
    assert {number: ids(tokens) for number, tokens in got.items()} == {1: running.expected, 3: new.expected}
    assert engine.vision.busy
    tower.open.set()
    assert ids(run(engine)[2]) == one.expected
    assert not engine.vision.busy


def test_equal_pictures_at_the_same_time_are_computed_once(dense, one, tower, run):
    """A picture that is in the tower already is not sent there again for a second request."""
    engine = dense.engine()
    tower.open.clear()
    engine.submit(1, one.prompt, Sampling(8))
    steps(engine, 3)
    engine.submit(2, one.prompt, Sampling(8))
    steps(engine, 3)
    tower.open.set()
    got = run(engine)
    assert ids(got[1]) == ids(got[2]) == one.expected
    assert tower.patches == [size(one)]


def test_a_picture_whose_request_is_gone_is_not_computed(dense, one, other, tower, run):
    """An abort takes a picture out of the queue; one that is in the tower is kept for whoever sends it again."""
    engine = dense.engine()
    tower.open.clear()
    engine.submit(1, one.prompt, Sampling(8))
    steps(engine, 2)
    engine.submit(2, other.prompt, Sampling(8))
    steps(engine, 2)
    engine.abort(1)
    engine.abort(2)
    assert engine.blocks.used == 0
    assert not engine.busy
    engine.submit(3, one.prompt, Sampling(8))
    steps(engine, 1)
    tower.open.set()
    assert ids(run(engine)[3]) == one.expected
    assert tower.patches == [size(one)]


def test_the_tower_gives_up_what_nobody_wants(dense, one, other, tower, run):
    """When the last request with a picture is gone, the tower stops after the layer that it is in, and serves the next."""
    engine = dense.engine()
    tower.open.clear()
    engine.submit(1, one.prompt, Sampling(8))
    engine.submit(2, one.prompt, Sampling(8))
    steps(engine, 2)
    layers = []
    hooks = [b.register_forward_hook(lambda *_: layers.append(1)) for b in dense.model.model.visual.blocks]
    engine.abort(1)
    engine.abort(2)
    tower.open.set()
    engine.submit(3, other.prompt, Sampling(8))
    assert ids(run(engine)[3]) == other.expected
    assert len(layers) == len(hooks)
    assert engine.vision.find(one.prompt.media[0].key) is None
    for hook in hooks:
        hook.remove()


def test_how_long_the_tower_stands_still_is_known(dense, one, tower, run):
    """Time passes for a tower that does not go on, also when nobody waits for it any more; an idle one has none."""
    engine = dense.engine()
    assert engine.vision.still_seconds == 0
    tower.open.clear()
    engine.submit(1, one.prompt, Sampling(8))
    steps(engine, 2)
    before = engine.vision.still_seconds
    engine.abort(1)
    time.sleep(0.01)
    assert engine.vision.still_seconds > before
    tower.open.set()
    engine.submit(2, one.prompt, Sampling(8))
    assert ids(run(engine)[2]) == one.expected
    assert engine.vision.still_seconds == 0


def test_a_picture_that_fails_fails_only_who_needs_it(dense, one, other, run, caplog):
    """Two requests with one bad picture fail; a picture of the same call does not, and the key is not spoilt."""
    engine = dense.engine()
    medium = one.prompt.media[0]
    bad = replace(one.prompt, media=(replace(medium, pixels=medium.pixels[:-1]),))
    for number, prompt in ((1, bad), (2, other.prompt), (3, bad)):
        engine.submit(number, prompt, Sampling(8))
    with caplog.at_level(logging.CRITICAL):
        got = run(engine)
    assert isinstance(got[1][0], EngineFailed)
    assert isinstance(got[3][0], EngineFailed)
    assert ids(got[2]) == other.expected
    engine.submit(4, one.prompt, Sampling(8))
    assert ids(run(engine)[4]) == one.expected
    assert engine.blocks.used == 0


def test_the_tower_is_not_far_ahead_of_the_prompts(dense, tower, run):
    """Embeddings take memory: of many pictures only the next few are computed before their tokens are."""
    pictures = [(40 + number, 96, 96) for number in range(12)]
    case = dense.case("many", 4, dense.inputs("Compare them.", pictures))
    engine = dense.engine(patches=1, token_budget=16)
    engine.submit(1, case.prompt, Sampling(4))
    ahead = []
    got = []
    while engine.busy:
        got += [token for _, token in engine.step()]
        if engine.scheduler.running:
            sequence = engine.scheduler.running[0]
            ahead.append(len(set(sequence.needed_media) & sequence.embedded))
    assert ids(got) == case.expected
    assert len(tower.patches) == len(pictures)
    assert max(ahead) <= 2


def test_the_cache_holds_what_fits_and_forgets_the_least_recently_used(dense, one, other, tower, run):
    """With room for one of two pictures, the one that was needed last is kept."""
    room = dense.engine()
    room.submit(1, other.prompt, Sampling(1))
    run(room)
    engine = dense.engine(vision_bytes=room.vision.nbytes)
    for number, case in enumerate((one, other)):
        engine.submit(number, case.prompt, Sampling(1))
        run(engine)
    assert engine.vision.nbytes == room.vision.nbytes
    assert engine.vision.find(one.prompt.media[0].key) is None
    assert engine.vision.find(other.prompt.media[0].key) is not None
    assert tower.patches == [size(other), size(one), size(other)]
