"""The configuration file is applied when it is good and refused with a reason when it is not."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from omega_schema.server_config import ConfigError, ServerConfig, config_hash
from omega_server.live_config import LiveConfig, configure


def test_overrides_hold() -> None:
    """A field that environment or flag set stays, whatever the file says."""
    text = b'{"batching": {"maxBatchSize": 8, "maxQueue": 9}}'
    config = configure(text, {"batching.maxBatchSize": 2})
    assert (config.batching.max_batch_size, config.batching.max_queue) == (2, 9)
    with pytest.raises(ConfigError, match=r"batching\.maxBatchSize"):
        configure(text, {"batching.maxBatchSize": 0})


def test_without_file() -> None:
    """Without a file the schema's defaults count."""
    live = LiveConfig(None, {})
    assert (live.current, live.hash, live.error) == (ServerConfig(), None, None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A good configuration file."""
    path = tmp_path / "config.json"
    path.write_text('{"images": {"maxPerRequest": 3}}')
    return path


def test_swap(file: Path) -> None:
    """A new file reaches every subscriber once, under the hash of its bytes."""
    live = LiveConfig(file, {})
    seen: list[int] = []
    live.subscribe(lambda config: seen.append(config.images.max_per_request))
    live.poll()
    file.write_text('{"images": {"maxPerRequest": 4}} ')
    live.poll()
    live.poll()
    assert seen == [3, 4]
    assert (live.hash, live.error) == (config_hash(file.read_bytes()), None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "JSON"),
        ("", "JSON"),
        ('{"images": {"maxPerRequest": "many"}}', "images.maxPerRequest"),
        ('{"images": {"maxPerRequests": 1}}', "images.maxPerRequests"),
        ('{"version": "v2"}', "version"),
        ('{"generation": {"limits": {"maxNewTokens": 5}}}', "maxNewTokens"),
    ],
)
def test_bad_file(file: Path, text: str, reason: str) -> None:
    """A bad file changes nothing but the reason, and the next good one clears it."""
    live = LiveConfig(file, {})
    before = (live.current, live.hash)
    file.write_text(text)
    live.poll()
    assert (live.current, live.hash) == before
    assert live.error is not None
    assert reason in live.error
    file.write_text('{"images": {"maxPerRequest": 5}}')
    live.poll()
    assert (live.current.images.max_per_request, live.error) == (5, None)


def test_bad_from_the_beginning(file: Path) -> None:
    """A server that starts over a bad file starts with the defaults, and says so."""
    file.write_text("nonsense")
    live = LiveConfig(file, {})
    assert (live.current, live.hash) == (ServerConfig(), None)
    assert live.error


def test_vanished(file: Path) -> None:
    """A file that goes away changes nothing, and is noticed when it is back, even if it is the same."""
    live = LiveConfig(file, {})
    text = file.read_text()
    file.unlink()
    live.poll()
    assert live.current.images.max_per_request == 3
    assert live.error == "the file cannot be read: No such file or directory"
    file.write_text(text)
    live.poll()
    assert live.error is None


async def test_kubelet_swap(tmp_path: Path) -> None:
    """The kubelet swaps a link to a directory; the watcher follows it."""

    def project(version: str, text: str) -> None:
        directory = tmp_path / version
        directory.mkdir()
        (directory / "config.json").write_text(text)
        (tmp_path / "..new").symlink_to(version)
        (tmp_path / "..new").rename(tmp_path / "..data")

    project("..1", '{"images": {"maxPerRequest": 1}}')
    (tmp_path / "config.json").symlink_to("..data/config.json")
    live = LiveConfig(tmp_path / "config.json", {})
    changed = asyncio.Event()
    seen: list[Any] = []
    live.subscribe(lambda config: (seen.append(config.images.max_per_request), len(seen) > 1 and changed.set()))  # type: ignore[func-returns-value]
    watching = asyncio.create_task(live.watch())
    project("..2", '{"images": {"maxPerRequest": 2}}')
    await asyncio.wait_for(changed.wait(), 10)
    watching.cancel()
    assert seen == [1, 2]
