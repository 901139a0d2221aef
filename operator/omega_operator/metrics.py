"""The operator's own metrics."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Counts for Prometheus."""

    def __init__(self, *, waiting: Callable[[], float], leads: Callable[[], bool]) -> None:
        """Args: how many keys wait, and whether this replica leads."""
        self._registry = CollectorRegistry()
        self._reconciles = Counter(
            "omega_operator_reconciles", "Reconciles by how they ended.", ["outcome"], registry=self._registry
        )
        self._seconds = Histogram(
            "omega_operator_reconcile_seconds", "Seconds that one reconcile took.", registry=self._registry
        )
        Gauge(
            "omega_operator_queue_length", "Resources that wait for a reconcile.", registry=self._registry
        ).set_function(waiting)
        Gauge("omega_operator_leads", "1 if this replica leads.", registry=self._registry).set_function(
            lambda: float(leads())
        )

    def reconciled(self, outcome: str, seconds: float) -> None:
        """Count one reconcile."""
        self._reconciles.labels(outcome).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
