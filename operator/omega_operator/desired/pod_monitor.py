"""Metrics of the pods for Prometheus."""

from typing import Any

from omega_operator import labels
from omega_operator.desired import names
from omega_operator.desired.metadata import manifest
from omega_operator.desired.service import PORT_NAME
from omega_operator.kinds import Manifest
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment

SCRAPE_KEY = "prometheus"
"""Key of the Secret of API keys with which Prometheus asks: /metrics is as closed as everything else."""


def pod_monitor(resource: OmegaVLMDeployment, settings: Settings) -> Manifest:
    """Each pod by itself: a Service would hide which of them is slow."""
    name = resource.metadata.name
    endpoint: dict[str, Any] = {"port": PORT_NAME, "path": "/metrics"}
    if resource.spec.auth is not None:
        secret = {"name": resource.spec.auth.secret_ref.name, "key": SCRAPE_KEY}
        endpoint["authorization"] = {"type": "Bearer", "credentials": secret}
    return manifest(
        names.pod_monitor(name),
        resource,
        settings,
        spec={
            "selector": {"matchLabels": labels.selector(name)},
            "podMetricsEndpoints": [endpoint],
        },
    )
