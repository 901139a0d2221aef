"""Metrics of the pods for Prometheus."""

from omega_operator import labels
from omega_operator.desired import names
from omega_operator.desired.metadata import manifest
from omega_operator.desired.service import PORT_NAME
from omega_operator.kinds import Manifest
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment


def pod_monitor(resource: OmegaVLMDeployment, settings: Settings) -> Manifest:
    """Each pod by itself: a Service would hide which of them is slow."""
    name = resource.metadata.name
    return manifest(
        names.pod_monitor(name),
        resource,
        settings,
        spec={
            "selector": {"matchLabels": labels.selector(name)},
            "podMetricsEndpoints": [{"port": PORT_NAME, "path": "/metrics"}],
        },
    )
