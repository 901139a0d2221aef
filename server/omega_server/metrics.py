"""What /metrics shows, under the names that vLLM made usual, with our prefix."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)


class EngineLoad(Protocol):
    """What an engine says about itself."""

    @property
    def index(self) -> int:
        """Which engine."""

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
    def preemptions(self) -> int:
        """Sequences that had to give up their blocks."""


class Timer:
    """The times of one choice, from the moment it was asked for."""

    def __init__(self, metrics: "Metrics", prompt_tokens: int) -> None:
        self._metrics = metrics
        self._began = time.monotonic()
        self._last: float | None = None
        metrics.prompt_tokens.inc(prompt_tokens)

    def token(self, now: float) -> None:
        """A token came."""
        if self._last is None:
            self._metrics.first_token.observe(now - self._began)
        else:
            self._metrics.between_tokens.observe(now - self._last)
        self._metrics.generation_tokens.inc()
        self._last = now

    def finish(self, now: float, reason: str) -> None:
        """The choice is complete."""
        self._metrics.whole_request.observe(now - self._began)
        self._metrics.success.labels(reason).inc()


class Metrics:
    """All counters of one server. They belong to one model, whose name the scrape adds."""

    def __init__(self, engines: Callable[[], Sequence[EngineLoad]]) -> None:
        """Metrics of the engines that `engines` lists at each scrape."""
        registry = self.registry = CollectorRegistry()
        registry.register(_Engines(engines))
        self.first_token = Histogram(
            "omega_time_to_first_token_seconds", "From request to first token.", registry=registry, buckets=LONG
        )
        self.between_tokens = Histogram(
            "omega_inter_token_latency_seconds", "From one token to the next.", registry=registry, buckets=SHORT
        )
        self.whole_request = Histogram(
            "omega_e2e_request_latency_seconds", "From request to last token.", registry=registry, buckets=LONG
        )
        self.success = Counter(
            "omega_request_success_total", "Choices answered to their end.", ["finished_reason"], registry=registry
        )
        self.prompt_tokens = Counter("omega_prompt_tokens_total", "Tokens of prompts.", registry=registry)
        self.generation_tokens = Counter("omega_generation_tokens_total", "Tokens of answers.", registry=registry)
        self.responses = Counter("omega_http_responses_total", "HTTP responses.", ["path", "status"], registry=registry)

    def timer(self, prompt_tokens: int) -> Timer:
        """Begin to measure one choice."""
        return Timer(self, prompt_tokens)

    def text(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)


class _Engines(Collector):
    def __init__(self, engines: Callable[[], Sequence[EngineLoad]]) -> None:
        self._engines = engines

    def collect(self) -> Iterable[Metric]:
        running = GaugeMetricFamily("omega_num_requests_running", "Sequences being computed.", labels=["engine"])
        waiting = GaugeMetricFamily("omega_num_requests_waiting", "Sequences in the queue.", labels=["engine"])
        cache = GaugeMetricFamily("omega_kv_cache_usage_perc", "Used share of the KV cache, 0 to 1.", labels=["engine"])
        preempted = CounterMetricFamily(
            "omega_num_preemptions",
            "Sequences that gave up their part of the KV cache to older ones.",
            labels=["engine"],
        )
        for engine in self._engines():
            label = [str(engine.index)]
            running.add_metric(label, engine.running)
            waiting.add_metric(label, engine.waiting)
            cache.add_metric(label, engine.kv_blocks_used / max(engine.kv_blocks_total, 1))
            preempted.add_metric(label, engine.preemptions)
        return running, waiting, cache, preempted
