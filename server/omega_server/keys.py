"""Who may ask: API keys from a watched directory and from the environment.

With neither, everybody may. With a directory that holds no key, nobody may.
"""

import asyncio
import hmac
import logging
import os
from contextvars import ContextVar
from hashlib import blake2b
from pathlib import Path

logger = logging.getLogger(__name__)

INTERVAL = 0.5
"""Seconds between two looks at the directory."""

tenant: ContextVar[bytes] = ContextVar("tenant", default=b"")
"""Who asks, as salt for everything that is kept from one request to the next: 16 bytes for each API key, from which it cannot
be told; empty where no key is needed, and everybody is one tenant. Set where the key is checked."""
_SECRET = os.urandom(32)


class Keyring:
    """The keys that count now."""

    def __init__(self, directory: Path | None, key: str | None) -> None:
        self._directory = directory
        self._fixed = () if key is None else (key.encode(),)
        self._keys: tuple[bytes, ...] = self._fixed
        self._seen: object = None
        self.poll()

    def allows(self, authorization: list[bytes]) -> bool:
        """Whether a request with these Authorization headers may pass; if so, `tenant` is who asks from here on.

        All keys are compared, in constant time each.
        """
        tenant.set(b"")
        if self.everybody:
            return True
        if len(authorization) != 1:
            return False
        scheme, _, offered = authorization[0].partition(b" ")
        matches = [hmac.compare_digest(key, offered.strip()) for key in self._keys]
        allowed = scheme.lower() == b"bearer" and any(matches)
        if allowed:
            tenant.set(blake2b(offered.strip(), key=_SECRET, digest_size=16).digest())
        return allowed

    @property
    def everybody(self) -> bool:
        """Whether no key is needed."""
        return self._directory is None and not self._fixed

    async def watch(self) -> None:
        """Poll until cancelled."""
        while True:
            self.poll()
            await asyncio.sleep(INTERVAL)

    def poll(self) -> None:
        """Read the directory again if something in it changed."""
        if self._directory is None:
            return
        try:
            # Names that begin with a dot are the kubelet's own links and directories, not keys.
            files = sorted(
                path for path in self._directory.iterdir() if not path.name.startswith(".") and path.is_file()
            )
            stats = [path.stat() for path in files]
            seen = [
                (path.name, stat.st_ino, stat.st_mtime_ns, stat.st_size)
                for path, stat in zip(files, stats, strict=True)
            ]
            if seen == self._seen:
                return
            found = tuple(key for key in (path.read_bytes().strip() for path in files) if key)
        except OSError as error:
            logger.error("API keys cannot be read, none counts: %s", error.strerror)
            seen, found = [], ()
        if seen != self._seen:
            logger.info("%d API keys in the directory", len(found))
        self._seen, self._keys = seen, (*self._fixed, *found)
