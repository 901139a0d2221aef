"""One ready server for all tests of the HTTP side that do not end it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "http"))  # the tests share demo_server, and are no package

from demo_server import BASE, KEY, Configured, start, until, write_config


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    """A ready server with one key and the configuration BASE; put back what you change."""
    directory = tmp_path_factory.mktemp("server")
    config, keys = directory / "config", directory / "keys"
    config.mkdir()
    keys.mkdir()
    (keys / "first").write_text(KEY + "\n")
    write_config(config, BASE)
    started = start(directory, key=KEY, CONFIG_FILE=str(config / "config.json"), API_KEYS_DIR=str(keys))
    configured = Configured(started.process, started.log, KEY, config)
    try:
        until(configured.ready)
        yield configured
    finally:
        code = configured.stop()
    assert code == 0, configured.log.read_text()
