"""The kinds of objects that the operator touches, and their addresses in the Kubernetes API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from omega_schema import limits

Manifest = dict[str, Any]
"""A Kubernetes object as the API writes it, decoded from JSON."""


class Key(NamedTuple):
    """Names one resource: what the queue holds."""

    namespace: str
    name: str


@dataclass(frozen=True)
class Kind:
    """One kind of object."""

    api_version: str
    name: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """The path of one object, of all of a namespace, or of all."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{scope}/{self.plural}" + (f"/{name}" if name else "")

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version without its group."""
        return self.api_version.rpartition("/")[2]


RESOURCE = Kind(f"{limits.GROUP}/{limits.VERSION}", limits.KIND, limits.PLURAL)

SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
JOB = Kind("batch/v1", "Job", "jobs")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
SERVICE = Kind("v1", "Service", "services")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
POD_MONITOR = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")
TRIGGER_AUTHENTICATION = Kind("keda.sh/v1alpha1", "TriggerAuthentication", "triggerauthentications")
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
INFERENCE_POOL = Kind("inference.networking.k8s.io/v1", "InferencePool", "inferencepools")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")

CHILDREN = (
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    VOLUME_CLAIM,
    JOB,
    NETWORK_POLICY,
    DEPLOYMENT,
    SERVICE,
    DISRUPTION_BUDGET,
    AUTOSCALER,
    POD_MONITOR,
    TRIGGER_AUTHENTICATION,
    SCALED_OBJECT,
    INFERENCE_POOL,
    HTTP_ROUTE,
)
"""Kinds of children, in the order in which they are applied: what a pod needs comes before the pod."""

OPTIONAL: Mapping[Kind, str] = {
    POD_MONITOR: "the Prometheus operator",
    TRIGGER_AUTHENTICATION: "KEDA",
    SCALED_OBJECT: "KEDA",
    INFERENCE_POOL: "the Gateway API inference extension",
    HTTP_ROUTE: "the Gateway API",
}
"""Kinds that a cluster has only with a project of others: that project."""

POD = Kind("v1", "Pod", "pods")
NODE = Kind("v1", "Node", "nodes")
QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")
EVENT = Kind("v1", "Event", "events")
TRANSITION = Kind("events.k8s.io/v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")

_ORDER = {kind: place for place, kind in enumerate(CHILDREN)}


class Ref(NamedTuple):
    """Names one object of a namespace."""

    kind: Kind
    name: str

    @property
    def order(self) -> tuple[int, str]:
        """Sorts references in the order in which they are applied."""
        return _ORDER[self.kind], self.name

    def __str__(self) -> str:
        return f"{self.kind.name} {self.name}"


_BY_NAME: Mapping[tuple[str, str], Kind] = {(kind.api_version, kind.name): kind for kind in CHILDREN}


def ref_of(manifest: Manifest) -> Ref:
    """Whom a child's manifest is about."""
    return Ref(_BY_NAME[manifest["apiVersion"], manifest["kind"]], manifest["metadata"]["name"])
