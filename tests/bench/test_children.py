"""The systems without HTTP, as child processes, with the demo model."""

import queue
from pathlib import Path

import pytest

from bench import lines, micro_batches
from bench.systems import ROOT, Setup, omega_in_process
from omega_server.bench.workload import Picture, Request


def job(number: int) -> lines.Job:
    """A request that is there."""
    return lines.Job(0.0, [{"role": "user", "content": str(number)}], 4, 0.0, [])


def test_batches_have_two_at_most() -> None:
    """Three that wait make two batches, in order."""
    waiting: queue.SimpleQueue[lines.Job] = queue.SimpleQueue()
    jobs = [job(number) for number in range(3)]
    for one in jobs:
        waiting.put(one)
    assert micro_batches.take(waiting) == jobs[:2]
    assert micro_batches.take(waiting) == jobs[2:]


def test_content() -> None:
    """Texts and pictures of a message, in order."""
    message = Request(0.0, "hello", (Picture(1, 64, 48),), 4).messages()[0]
    picture, text = lines.content(message)
    assert (text, picture.size, picture.mode) == ("hello", (64, 48), "RGB")
    assert list(lines.content({"content": "plain"})) == ["plain"]


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The demo model, one thread."""
    return Setup(ROOT / "demo" / "model", 1, tmp_path_factory.mktemp("logs"))


def test_engine_in_process(setup: Setup) -> None:
    """Answers a load, and tells a step's parts from each other."""
    child = omega_in_process(setup)
    try:
        requests = [Request(0.0, "Count all shapes.", (Picture(3, 96, 96),), 3), Request(0.1, "hello", (), 2)]
        records = child.send(requests, None)
        assert [record.tokens for record in records] == [3, 2]
        for record in records:
            assert record.sent < record.pieces[0] <= record.pieces[-1] == record.ended
        found = child.call({"overhead": {"sequences": 4, "steps": 3}})[0]
        assert found["sequences"] == 4
        assert 0 < found["forward_s"] < found["step_s"]
        assert 0 < found["share_outside"] < 1
    finally:
        child.end()


def test_a_child_that_cannot_load_is_told(setup: Setup, tmp_path: Path) -> None:
    """Its last words come along."""
    with pytest.raises(RuntimeError, match="there is no model at"):
        omega_in_process(Setup(tmp_path / "nothing", 1, setup.logs))
