"""Servers that are told to stop while they stream, one after the other."""

from pathlib import Path

import pytest
from demo_server import ROOT

import rolling

pytestmark = pytest.mark.timeout(2400)


async def test_no_stream_is_cut(tmp_path: Path) -> None:
    """Under load, with connections that are kept: each stream that begins ends, and each server ends with 0."""
    with (tmp_path / "log").open("wb") as log:
        tally = await rolling.roll(model=ROOT / "demo" / "model", rounds=2, clients=4, servers=2, log=log)
    written = (tmp_path / "log").read_text()
    assert not tally.cut, written
    assert tally.codes == [0, 0]
    assert tally.whole > 0
    assert "Traceback" not in written
