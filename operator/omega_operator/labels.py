"""Labels and annotations of the children."""

NAME = "omegavlm.io/name"
"""Label: the resource that a child belongs to."""

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "omega-operator"
"""Value of the label managed-by, and the one field manager of all our writes."""

COMPONENT = "app.kubernetes.io/component"
SERVER = "server"
DOWNLOAD = "download"

OURS = f"{MANAGED_BY}={MANAGER}"
"""Selects everything that the operator made."""

CONFIG = "omegavlm.io/config"
"""Annotation of a pod: the live configuration that it was last nudged to read."""

NUDGES = "omegavlm.io/nudges"
"""Annotation of a pod: how often it was nudged to read that configuration."""

TEMPLATE = "omegavlm.io/template"
"""Annotation of a pod: digest of the pod template that it was made from."""

DEFAULT_IMAGE = "omegavlm.io/default-image"
"""Annotation of a Deployment: the server image that the operator chose, because the resource names none."""

QUOTA = "omegavlm.io/quota"
"""Annotation of a Deployment whose pods a quota refused: what the quotas have left by now."""

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Kubernetes' annotation of a pod: of several that are ready, the one with the lowest number goes first."""


def pod(name: str, component: str = SERVER) -> dict[str, str]:
    """Labels of the pods. Without a version: an upgrade of the operator must not roll anybody's pods."""
    return {
        "app.kubernetes.io/name": "omega-vlm",
        "app.kubernetes.io/instance": name,
        COMPONENT: component,
        MANAGED_BY: MANAGER,
        "app.kubernetes.io/part-of": "omega-vlm",
        NAME: name,
    }


def child(name: str, version: str) -> dict[str, str]:
    """Labels of every other child."""
    return pod(name) | {"app.kubernetes.io/version": version}


def selector(name: str, component: str = SERVER) -> dict[str, str]:
    """Selects the pods of one resource."""
    return {COMPONENT: component, NAME: name}


def selector_text(name: str) -> str:
    """Selects the server's pods, as autoscalers read it."""
    return ",".join(f"{key}={value}" for key, value in selector(name).items())
