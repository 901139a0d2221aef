"""The operator's own metrics, under the names that controller-runtime and client-go made usual: docs/metrics.md."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from omega_operator import __version__

PREFIX = "omega_operator"

_QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


@dataclass(frozen=True)
class Now:
    """What is not counted but looked at, each time that somebody asks."""

    waiting: Callable[[], float]
    """Resources in the queue."""

    overdue: Callable[[], float]
    """Seconds that the oldest resource has been due or worked on."""

    longest: Callable[[], float]
    """Seconds that the oldest running reconcile has taken so far."""

    leads: Callable[[], bool]
    """Whether this replica leads."""

    ages: Callable[[], Mapping[str, float]]
    """By kind: seconds since its watch was last known to have brought everything."""


class Metrics:
    """Counts for Prometheus."""

    def __init__(self) -> None:
        """All at zero."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._reconciles = self._counter("reconcile", "Reconciles by how they ended.", "result")
        self._errors = self._counter("reconcile_errors", "Reconciles that failed, by why.", "reason")
        self._seconds = self._histogram("reconcile_time_seconds", "Seconds that one reconcile took.", _QUICK)
        self._waits = self._histogram(
            "workqueue_queue_duration_seconds", "Seconds from when a resource was due to its reconcile.", _QUICK
        )
        self._requests = self._counter(
            "rest_client_requests", "Requests to the API server; code <error>: no answer.", "method", "code"
        )
        self._request_seconds = self._histogram(
            "rest_client_request_duration_seconds", "Seconds that the API server took.", _QUICK, "verb"
        )
        self._writes = self._counter(
            "writes", "What was written to the cluster, by what became of it.", "kind", "verb", "outcome"
        )
        self._changes = self._histogram(
            "change_to_applied_seconds",
            "Seconds from news of a change until the children are as they should be.",
            _SLOW,
        )
        self._repairs = self._counter("watch_repairs", "Objects that the audit had to bring in.", "kind")
        self._gauge("build_info", "The version.", "version").labels(__version__).set(1)

    def follow(self, now: Now, workers: int) -> None:
        """Show what is only known by looking, and how many reconciles there may be at once."""
        self._gauge("max_concurrent_reconciles", "Reconciles that may run at the same time.").set(workers)
        for name, help_, look in (
            ("workqueue_depth", "Resources that wait for a reconcile.", now.waiting),
            ("workqueue_overdue_seconds", "Seconds that the oldest resource has been due or worked on.", now.overdue),
            ("workqueue_longest_running_processor_seconds", "Seconds of the oldest running reconcile.", now.longest),
        ):
            self._gauge(name, help_).set_function(look)
        leader = self._gauge("leader_election_master_status", "1 if this replica leads.", "name")
        leader.labels("omega-operator").set_function(lambda: float(now.leads()))
        self._ages = self._gauge(
            "watch_age_seconds", "Seconds since a watch was last known to have brought everything.", "kind"
        )
        self._now = now

    def reconciled(self, result: str, seconds: float) -> None:
        """Count one reconcile: success, requeue, requeue_after or error."""
        self._reconciles.labels(result).inc()
        self._seconds.observe(seconds)

    def failed(self, reason: str) -> str:
        """Count one failure; returns the result of its reconcile."""
        self._errors.labels(reason).inc()
        return "error"

    def waited(self, seconds: float) -> None:
        """Take down for how long a resource was due."""
        self._waits.observe(seconds)

    def applied(self, seconds: float | None) -> None:
        """Take down how long a change took; None: nothing had changed."""
        if seconds is not None:
            self._changes.observe(seconds)

    def requested(self, method: str, code: str, seconds: float) -> None:
        """Count one request to the API server."""
        self._requests.labels(method, code).inc()
        self._request_seconds.labels(method).observe(seconds)

    def wrote(self, kind: str, verb: str, outcome: str) -> None:
        """Count one write: apply, patch, create or delete; ok, conflict, throttled, refused, failed or no_answer."""
        self._writes.labels(kind, verb, outcome).inc()

    def repaired(self, kind: str) -> None:
        """Count an object whose watch had not brought its news."""
        self._repairs.labels(kind).inc()

    def text(self) -> bytes:
        """In Prometheus' text format."""
        for kind, seconds in self._now.ages().items():
            self._ages.labels(kind).set(seconds)
        return generate_latest(self._registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", help_, labels, registry=self._registry)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", help_, labels, registry=self._registry)

    def _histogram(self, name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", help_, labels, buckets=buckets, registry=self._registry)
