"""What /metrics shows, under the names that vLLM made usual, with our prefix. docs/metrics.md explains each of them."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)
LAG = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2.5)

CLIENT_GONE = 499
"""Status in our log and metrics of a request whose client hung up; no client sees it."""
RECENT_SECONDS = 60.0
"""For how long the longest block of the event loop is remembered."""


class EngineLoad(Protocol):
    """What an engine says about itself."""

    @property
    def index(self) -> int:
        """Which engine."""

    @property
    def state(self) -> str:
        """ready, or something else."""

    @property
    def running(self) -> int:
        """Sequences being computed."""

    @property
    def waiting(self) -> int:
        """Sequences in its queue."""

    @property
    def kv_blocks_used(self) -> int:
        """Blocks of the KV cache that are taken."""

    @property
    def kv_blocks_total(self) -> int:
        """Blocks of the KV cache."""

    @property
    def kv_block_size(self) -> int:
        """Tokens of a block."""

    @property
    def preemptions(self) -> int:
        """Sequences that had to give up their blocks."""

    @property
    def vision_queries(self) -> int:
        """Pictures and videos that sequences needed."""

    @property
    def vision_hits(self) -> int:
        """Those that the vision tower had seen before."""

    @property
    def restarts(self) -> int:
        """How often its process was started again."""

    @property
    def memory_bytes(self) -> int:
        """Resident memory of its processes."""


class Timer:
    """The times of one choice, from the moment it was asked for.

    Attributes:
        began: that moment, in seconds of the monotonic clock.
        queued: seconds until an engine began; known with the first token.
    """

    def __init__(self, metrics: "Metrics", prompt: int) -> None:
        self._metrics = metrics
        self._prompt = prompt
        self.began = time.monotonic()
        self.queued = 0.0
        self._first: float | None = None
        self._last = self.began
        self._tokens = 0

    def token(self, now: float, *, cached: int, queued: float) -> None:
        """A token came.

        Args:
            now: in seconds of the monotonic clock.
            cached: with the first one, tokens of the prompt that were found computed.
            queued: with the first one, seconds until an engine began.
        """
        if self._first is None:
            self._first = now
            self.queued = queued
            self._metrics.first_token.observe(now - self.began)
            self._metrics.queue.observe(queued)
            self._metrics.prefill.observe(max(now - self.began - queued, 0.0))
            self._metrics.prefix_queries.inc(self._prompt)
            self._metrics.prefix_hits.inc(cached)
        else:
            self._metrics.between_tokens.observe(now - self._last)
        self._metrics.generation_tokens.inc()
        self._tokens += 1
        self._last = now

    def finish(self, now: float, reason: str) -> None:
        """The choice is complete: stop or length, whatever the engine says."""
        self._metrics.success.labels(reason).inc()
        self._metrics.whole_request.observe(now - self.began)
        self._metrics.decode.observe(now - (self._first or now))
        self._metrics.answer_length.observe(self._tokens)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count what ends a choice before it is complete: a fault, or a client that is gone."""
        try:
            yield
        except Exception:
            self._metrics.success.labels("error").inc()
            raise
        except BaseException:  # the generator was closed, or its task cancelled
            self._metrics.success.labels("abort").inc()
            raise


class Metrics:
    """All counters of one server. They belong to one model, whose name the scrape adds."""

    def __init__(self, engines: Callable[[], Sequence[EngineLoad]]) -> None:
        """Metrics of the engines that `engines` lists at each scrape."""
        self.registry = CollectorRegistry()
        self.registry.register(_Engines(engines))
        self.longest_block = LongestBlock()
        self.registry.register(self.longest_block)
        self._of_requests()
        self._of_tokens()
        self.media_seconds = self._histogram(
            "omega_mm_media_download_latency_seconds", "From asking for a picture's address to its last byte.", LONG
        )
        self.decode_seconds = self._histogram(
            "omega_mm_media_decode_latency_seconds", "From a picture's bytes to its pixels.", LONG
        )
        self.media_bytes = self._counter("omega_mm_media_download_bytes_total", "Bytes of pictures fetched.")
        self.responses = self._counter("omega_http_responses_total", "Requests answered.", "path", "status")
        self.loop_lag = self._histogram("omega_event_loop_lag_seconds", "How late the event loop was.", LAG)

    def _of_requests(self) -> None:
        self.first_token = self._histogram(
            "omega_time_to_first_token_seconds", "From a choice's start to its first token.", LONG
        )
        self.between_tokens = self._histogram("omega_inter_token_latency_seconds", "From one token to the next.", SHORT)
        self.whole_request = self._histogram(
            "omega_e2e_request_latency_seconds", "From a choice's start to its last token.", LONG
        )
        self.queue = self._histogram("omega_request_queue_time_seconds", "Until an engine began with it.", LONG)
        self.prefill = self._histogram(
            "omega_request_prefill_time_seconds", "From an engine's beginning to the first token.", LONG
        )
        self.decode = self._histogram("omega_request_decode_time_seconds", "From the first token to the last.", LONG)
        self.success = self._counter("omega_request_success_total", "Choices that ended.", "finished_reason")

    def _of_tokens(self) -> None:
        self.prompt_tokens = self._counter("omega_prompt_tokens_total", "Tokens of prompts.")
        self.generation_tokens = self._counter("omega_generation_tokens_total", "Tokens of answers.")
        self.prompt_length = self._histogram("omega_request_prompt_tokens", "Tokens of a prompt.", TOKENS)
        self.answer_length = self._histogram("omega_request_generation_tokens", "Tokens of a choice.", TOKENS)
        self.prefix_queries = self._counter("omega_prefix_cache_queries_total", "Prompt tokens that were looked up.")
        self.prefix_hits = self._counter("omega_prefix_cache_hits_total", "Prompt tokens that were found computed.")

    def prompt(self, tokens: int) -> None:
        """A request's prompt goes to the engines."""
        self.prompt_tokens.inc(tokens)
        self.prompt_length.observe(tokens)

    def timer(self, prompt: int) -> Timer:
        """Begin to measure one choice for a prompt of so many tokens."""
        return Timer(self, prompt)

    def downloaded(self, seconds: float, size: int) -> None:
        """A picture was fetched from its address; `size` in bytes."""
        self.media_seconds.observe(seconds)
        self.media_bytes.inc(size)

    def decoded(self, seconds: float) -> None:
        """A picture was decoded; the time has the wait for a decoding process in it."""
        self.decode_seconds.observe(seconds)

    def loop_was_late(self, seconds: float, cpu_seconds: float) -> None:
        """The event loop was late by so much, and its own thread computed for so much of that."""
        self.loop_lag.observe(seconds)
        self.longest_block.note(time.monotonic(), seconds, cpu_seconds)

    def text(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, meaning, registry=self.registry, buckets=buckets)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)


class LongestBlock(Collector):
    """The longest times for which the event loop did not turn, of the last minute."""

    def __init__(self) -> None:
        # Of each clock: times with the longest block since then, the longest first.
        self._kept: dict[Literal["wall", "cpu"], deque[tuple[float, float]]] = {"wall": deque(), "cpu": deque()}

    def note(self, now: float, wall: float, cpu: float) -> None:
        """There was a block that ended now."""
        for kept, seconds in zip(self._kept.values(), (wall, cpu), strict=True):
            while kept and kept[-1][1] <= seconds:
                kept.pop()
            kept.append((now, seconds))
            while kept[0][0] < now - RECENT_SECONDS:
                kept.popleft()

    def collect(self) -> Iterable[Metric]:
        """The two gauges."""
        family = GaugeMetricFamily(
            "omega_event_loop_longest_block_seconds",
            "Longest block of the event loop in the last minute, by the clock or by its own computing.",
            labels=["clock"],
        )
        for clock, kept in self._kept.items():
            family.add_metric([clock], kept[0][1] if kept else 0.0)
        return (family,)


def _used(engines: Sequence[EngineLoad]) -> float:
    return sum(engine.kv_blocks_used for engine in engines) / max(sum(engine.kv_blocks_total for engine in engines), 1)


# What a gauge or counter of an engine is called, what it means, and how it is read.
_GAUGES: tuple[tuple[str, str, Callable[[EngineLoad], float]], ...] = (
    ("omega_num_requests_running", "Sequences being computed.", lambda engine: engine.running),
    ("omega_num_requests_waiting", "Sequences in the queue.", lambda engine: engine.waiting),
    ("omega_kv_cache_usage_perc", "Used share of the KV cache, 0 to 1.", lambda engine: _used([engine])),
    ("omega_engine_ready", "1 while the engine takes requests.", lambda engine: engine.state == "ready"),
    ("omega_engine_memory_bytes", "Resident memory of the engine.", lambda engine: engine.memory_bytes),
)
_COUNTERS: tuple[tuple[str, str, Callable[[EngineLoad], float]], ...] = (
    (
        "omega_num_preemptions",
        "Sequences that gave up their part of the KV cache to older ones.",
        lambda engine: engine.preemptions,
    ),
    ("omega_mm_cache_queries", "Pictures and videos that sequences needed.", lambda engine: engine.vision_queries),
    ("omega_mm_cache_hits", "Those that the vision tower had seen before.", lambda engine: engine.vision_hits),
    ("omega_engine_restarts", "How often the engine was started again.", lambda engine: engine.restarts),
)
# Of the whole server, because whoever picks a pod reads one number for each.
_TOTALS: tuple[tuple[str, str, Callable[[Sequence[EngineLoad]], float]], ...] = (
    (
        "omega_total_running_requests",
        "Sequences being computed, in all engines.",
        lambda all_: sum(one.running for one in all_),
    ),
    (
        "omega_total_queued_requests",
        "Sequences in the queues of all engines.",
        lambda all_: sum(one.waiting for one in all_),
    ),
    (
        "omega_requests_per_engine",
        "Sequences that run or wait, divided by the engines.",
        lambda all_: sum(one.running + one.waiting for one in all_) / max(len(all_), 1),
    ),
    ("omega_kv_cache_utilization", "Used share of all KV caches, 0 to 1.", _used),
)


class _Engines(Collector):
    def __init__(self, engines: Callable[[], Sequence[EngineLoad]]) -> None:
        self._engines = engines

    def collect(self) -> Iterable[Metric]:
        engines = self._engines()
        for name, meaning, value in _GAUGES:
            gauge = GaugeMetricFamily(name, meaning, labels=["engine"])
            for engine in engines:
                gauge.add_metric([str(engine.index)], value(engine))
            yield gauge
        for name, meaning, value in _COUNTERS:
            counter = CounterMetricFamily(name, meaning, labels=["engine"])
            for engine in engines:
                counter.add_metric([str(engine.index)], value(engine))
            yield counter
        for name, meaning, total in _TOTALS:
            yield GaugeMetricFamily(name, meaning, value=total(engines))
        cache = InfoMetricFamily("omega_cache_config", "Of the KV caches.", labels=[])
        sizes = {str(engine.kv_block_size) for engine in engines if engine.kv_blocks_total}
        if sizes:
            blocks = sum(engine.kv_blocks_total for engine in engines)
            cache.add_metric([], {"block_size": sizes.pop(), "num_gpu_blocks": str(blocks)})
        yield cache
