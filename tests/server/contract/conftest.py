"""What the tests of the contract share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # they share tables and helpers, and are no package

import site_of_traps
from demo_server import Configured
from neighbour import Neighbour


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Host and port of a web server full of traps."""
    with site_of_traps.running() as place:
        yield place


@pytest.fixture(scope="module")
def neighbour(server: Configured) -> Iterator[Neighbour]:
    """A good request that is in flight all the time."""
    with Neighbour(server).asking() as asking:
        yield asking
