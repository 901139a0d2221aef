"""What may change while requests run: the configuration file, watched.

A file that does not validate changes nothing: the old configuration stays, and `error` says why. Requests read
`current` once, at their beginning, so that a swap never changes a running one.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from omega_schema.server_config import ConfigError, ServerConfig, config_hash

logger = logging.getLogger(__name__)

INTERVAL = 0.1
"""Seconds between two looks at the file. The kubelet swaps a directory link, which no inotify on the file sees."""


def configure(text: bytes, overrides: Mapping[str, Any]) -> ServerConfig:
    """The configuration of a file with some fields held fast.

    Args:
        text: JSON of a ServerConfig.
        overrides: by path, such as batching.maxBatchSize.

    Raises:
        ConfigError: the file, or the file with the overrides, is not valid.
    """
    config = ServerConfig.parse(text)
    if not overrides:
        return config
    tree = from_json(config.to_json())
    for path, value in overrides.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node[parent]
        node[name] = value
    return ServerConfig.parse(to_json(tree))


class LiveConfig:
    """The applied configuration, and what became of the newest file.

    Attributes:
        current: what counts now.
        hash: `config_hash` of the applied file's bytes; None without a file, or before the first good one.
        error: why the newest file was refused; None if it was applied.
    """

    def __init__(self, path: Path | None, overrides: Mapping[str, Any]) -> None:
        """Read the file once; a bad one leaves the defaults in force, because a crash would help nobody."""
        self.current = configure(b"{}", overrides)
        self.hash: str | None = None
        self.error: str | None = None
        self._path = path
        self._overrides = overrides
        self._seen: tuple[int, int, int] | None = None
        self._subscribers: list[Callable[[ServerConfig], None]] = []
        self.poll()

    def subscribe(self, apply: Callable[[ServerConfig], None]) -> None:
        """Call `apply` now and after each change."""
        self._subscribers.append(apply)
        apply(self.current)

    async def watch(self) -> None:
        """Poll until cancelled."""
        while True:
            self.poll()
            await asyncio.sleep(INTERVAL)

    def poll(self) -> None:
        """Look at the file, and apply it if it is new and good."""
        if self._path is None:
            return
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return
            text = self._path.read_bytes()
        except OSError as error:
            self._seen = None
            self._refuse(f"the file cannot be read: {error.strerror}")
            return
        self._seen = seen
        try:
            config = configure(text, self._overrides)
        except ConfigError as error:
            self._refuse(str(error))
            return
        self._apply(config, config_hash(text))

    def _refuse(self, reason: str) -> None:
        if reason != self.error:
            logger.error("configuration refused, the old one stays: %s", reason)
        self.error = reason

    def _apply(self, config: ServerConfig, name: str) -> None:
        self.current, self.hash, self.error = config, name, None
        for apply in self._subscribers:
            apply(config)
        logger.info("configuration %s applied", name)
