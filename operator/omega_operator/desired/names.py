"""Names of the children, derived from the resource's name alone. Nothing else in the operator makes up a name."""

import hashlib

from omega_operator.kinds import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    HTTP_ROUTE,
    INFERENCE_POOL,
    JOB,
    NETWORK_POLICY,
    POD_MONITOR,
    SCALED_OBJECT,
    SERVICE,
    SERVICE_ACCOUNT,
    TRIGGER_AUTHENTICATION,
    VOLUME_CLAIM,
    Ref,
)
from omega_schema.source import HubSource


def deployment(name: str) -> Ref:
    """The Deployment of the server."""
    return Ref(DEPLOYMENT, name)


def service(name: str) -> Ref:
    """The Service in front of the pods."""
    return Ref(SERVICE, name)


def config_map(name: str) -> Ref:
    """The live configuration."""
    return Ref(CONFIG_MAP, f"{name}-config")


def service_account(name: str) -> Ref:
    """The identity of the pods."""
    return Ref(SERVICE_ACCOUNT, name)


def disruption_budget(name: str) -> Ref:
    """How many pods maintenance may take at once."""
    return Ref(DISRUPTION_BUDGET, name)


def autoscaler(name: str) -> Ref:
    """How many pods there are."""
    return Ref(AUTOSCALER, name)


def scaled_object(name: str) -> Ref:
    """How many pods there are, by KEDA."""
    return Ref(SCALED_OBJECT, name)


def trigger_authentication(name: str) -> Ref:
    """How KEDA may ask the pods."""
    return Ref(TRIGGER_AUTHENTICATION, name)


def inference_pool(name: str) -> Ref:
    """The pods for an endpoint picker."""
    return Ref(INFERENCE_POOL, name)


def http_route(name: str) -> Ref:
    """The way in through a Gateway."""
    return Ref(HTTP_ROUTE, name)


def pod_monitor(name: str) -> Ref:
    """Metrics of the pods."""
    return Ref(POD_MONITOR, name)


def network_policy(name: str) -> Ref:
    """Who may connect to the pods, and to whom they may."""
    return Ref(NETWORK_POLICY, name)


def download_policy(name: str) -> Ref:
    """To whom downloads may connect."""
    return Ref(NETWORK_POLICY, f"{name}-download")


def cache(name: str) -> Ref:
    """The volume of a model from the Hub."""
    return Ref(VOLUME_CLAIM, f"{name}-cache")


def download(name: str, source: HubSource) -> Ref:
    """The Job that downloads one revision: another revision is another Job."""
    digest = hashlib.sha256(f"{source.repo}@{source.revision}".encode()).hexdigest()[:8]
    return Ref(JOB, f"{name}-download-{digest}")


def endpoint(name: str, namespace: str, port: int) -> str:
    """Base address for OpenAI clients inside the cluster."""
    return f"http://{name}.{namespace}.svc:{port}/v1"
