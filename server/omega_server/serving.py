"""What the routes share: the parts of the server, whether they are ready, and how many requests are being answered.

Nothing here needs torch: what does is in processes of its own, and a liveness probe never waits for them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from omega_schema.server_config import ServerConfig
from omega_server import http_protocol, loop_watch, tracing
from omega_server.engine.router import Router
from omega_server.keys import Keyring
from omega_server.live_config import LiveConfig
from omega_server.logs import Lines, set_level
from omega_server.media.loader import Loader
from omega_server.metrics import EngineLoad, Metrics
from omega_server.prompt.builder import PromptBuilder
from omega_server.settings import Settings
from omega_server.wire.errors import NOT_READY, ApiError

logger = logging.getLogger(__name__)

LAST_CALL = 1
"""Seconds for which a server that has been told to stop still takes requests, while those who send them hear of it: all of them
until none has come for so long, and later those of clients whose answer has just ended."""
LONGEST_LAST_CALL = 0.25
"""The part of the time to drain in which requests that still come are taken: the rest is for answering them."""
TEXT_ROOM = 16 << 20
"""Bytes of a request body for everything but pictures."""
PICTURE_ROOM = 64 << 20
"""Bytes of a request body for pictures, unless a single one may be larger."""


class _MediaTimes:
    """Measures and traces what happens to pictures and videos."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def downloaded(self, seconds: float, size: int) -> None:
        """One was fetched."""
        self._metrics.downloaded(seconds, size)
        now = time.monotonic()
        tracing.past("media.fetch", now - seconds, now, {"http.response.body.size": size})

    def decoded(self, seconds: float) -> None:
        """One was decoded."""
        self._metrics.decoded(seconds)
        now = time.monotonic()
        tracing.past("media.decode", now - seconds, now)


class Serving:
    """One server.

    Attributes:
        settings: what is fixed.
        live: what may change.
        keys: who may ask.
        loader: fetches and decodes pictures.
        metrics: of all requests.
        started: seconds since 1970.
        tracing: traces of requests, if the environment names a collector.
        draining: set when the server has been told to stop.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.live = LiveConfig(settings.config_file, settings.overrides)
        self.live.subscribe(lambda config: set_level(config.log_level))
        self.keys = Keyring(settings.api_keys_dir, settings.api_key)
        self.metrics = Metrics(self.engines)
        self.tracing = tracing.begin()
        self.loader = Loader(_MediaTimes(self.metrics))
        self.started = int(time.time())
        self._prompts: PromptBuilder | None = None
        self._router: Router | None = None
        self.draining = asyncio.Event()
        self._takes_no_more = False
        self._asked = self._drain_ends = 0.0
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Load the model.

        Raises:
            ModelError: it cannot be served as asked.
            EngineError: an engine does not come up.
        """
        boot = self.settings.boot
        self._router = Router(
            boot, self.live.current.batching, lines=Lines(self.settings.log_format, self.live.current.log_level)
        )
        self._prompts, _ = await asyncio.gather(
            asyncio.to_thread(PromptBuilder, boot.model_path, boot.max_length), self._router.start()
        )
        await self.loader.start()
        self.live.subscribe(self._configure)
        logger.info("ready: model %s on %d engine(s)", boot.model_name, boot.engines)

    async def watch(self) -> None:
        """Follow configuration, keys and the event loop until cancelled."""
        await asyncio.gather(self.live.watch(), self.keys.watch(), loop_watch.watch(self.metrics.loop_was_late))

    async def drain(self, hang_up: Callable[[int], None]) -> None:
        """Take no new work, and wait for what is running, `drain_seconds` at most.

        Clients that keep their connection cannot know yet, nor does a balancer that is slow to hear of it. While their requests
        come they are answered, and told to connect anew; then their connections are closed. Who waits for an answer that began
        before hears of it in the next one.

        Args:
            hang_up: closes connections, those that are in use so many seconds after their answer.
        """
        self._asked = began = time.monotonic()
        self._drain_ends = began + self.settings.drain_seconds
        latest = began + max(LAST_CALL, LONGEST_LAST_CALL * self.settings.drain_seconds)
        self.draining.set()
        logger.info("stopping: %d request(s) are being answered", self._active)
        while (left := min(self._asked + LAST_CALL, latest) - time.monotonic()) > 0:  # noqa: ASYNC110 - for nothing to happen
            await asyncio.sleep(left)
        self._takes_no_more = True
        hang_up(LAST_CALL)
        try:
            await asyncio.wait_for(self._quiet(), max(self._drain_ends - time.monotonic(), 0.0))
        except TimeoutError:
            logger.warning("%d request(s) did not end in time", self._active)

    async def _quiet(self) -> None:
        """Until nothing is being answered, and nobody asks once more who just was."""
        while self._active:
            await self._idle.wait()
            await asyncio.sleep(LAST_CALL)

    @property
    def drain_left(self) -> int:
        """Seconds that the last bytes of answers have to reach their readers, at least one."""
        return max(1, round(self._drain_ends - time.monotonic()))

    async def stop(self) -> None:
        """End engines and helpers."""
        if self._router is not None:
            await self._router.stop()
        if self._prompts is not None:
            self._prompts.close()
        await self.loader.close()
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)

    @property
    def state(self) -> Literal["loading", "ready", "draining"]:
        """What balancers are told."""
        if self.draining.is_set():
            return "draining"
        return "ready" if self._is_up else "loading"

    def let_in(self, scope: Mapping[str, Any]) -> None:
        """Take a request that has come: also while the server drains, of clients that could not know.

        Raises:
            ApiError: it is not answered.
        """
        if not self._is_up or (self._takes_no_more and not scope.get(http_protocol.LAST_CALL, False)):
            raise ApiError(NOT_READY)
        self._asked = time.monotonic()

    @property
    def _is_up(self) -> bool:
        return self._prompts is not None and self._router is not None and self._router.ready

    @property
    def max_body(self) -> int:
        """Largest request body, in bytes."""
        current = self.live.current
        one_file = max(current.images.max_bytes.bytes, current.video.max_bytes.bytes) * 4 // 3
        return TEXT_ROOM + max(PICTURE_ROOM, one_file)

    @property
    def prompts(self) -> PromptBuilder:
        """Builds prompts; for requests that were let in, also while the server drains.

        Raises:
            ApiError: 503, the server is loading.
        """
        if self._prompts is None:
            raise ApiError(NOT_READY)
        return self._prompts

    @property
    def router(self) -> Router:
        """Generates; for requests that were let in, also while the server drains.

        Raises:
            ApiError: 503, the server is loading.
        """
        if self._router is None:
            raise ApiError(NOT_READY)
        return self._router

    @property
    def max_length(self) -> int:
        """Longest prompt and answer together, in tokens; less than asked for if the checkpoint cannot do that."""
        return self.settings.boot.max_length if self._prompts is None else self._prompts.max_length

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request, for as long as it is being answered."""
        self._active += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._active -= 1
            if self._active == 0:
                self._idle.set()

    def engines(self) -> Sequence[EngineLoad]:
        """What the engines are doing."""
        return () if self._router is None else self._router.snapshot()

    def readiness(self) -> dict[str, Any]:
        """The body of /ready and /live."""
        return {"status": self.state, "config": {"hash": self.live.hash, "error": self.live.error}}

    def _configure(self, config: ServerConfig) -> None:
        if self._router is not None:
            self._router.update(config.batching, config.log_level)
