"""How long pods may take, by the size of their model. Seconds.

| what | how long |
|---|---|
| to load the model | 10 minutes, and 1 second for each 50 MB of weights: a slow network volume |
| until a new pod serves, or the rollout counts as failed | the older pod's time to drain, and twice the time to load: images and oci:// models are pulled first |

The weights of an hf:// model are no larger than its volume, spec.model.cache.size. How large others are is not known before they
are read: they get what 150 GB would, an hour to load.
"""

from omega_schema.resource import OmegaVLMDeployment

LEAST_SECONDS = 600
SLOWEST = 50_000_000
"""Bytes of weights that are read in one second at least."""

UNKNOWN = 150_000_000_000
"""Bytes of weights where nobody says how many they are."""

ENDPOINTS_GONE_SECONDS = 5
"""How long a pod still answers after its deletion began, until every node has taken it out of the Service."""

MARGIN_SECONDS = 10
"""Time to stop the engines after the last request was answered."""


def loading_seconds(resource: OmegaVLMDeployment | None = None) -> int:
    """Longest time to load a model: of a resource, or of one of which nothing is known."""
    cache = resource.spec.model.cache if resource is not None else None
    return LEAST_SECONDS + -(-(cache.size.bytes if cache is not None else UNKNOWN) // SLOWEST)


def draining_seconds(resource: OmegaVLMDeployment) -> int:
    """Longest time from the deletion of a pod to its end."""
    return ENDPOINTS_GONE_SECONDS + resource.spec.rollout.drain_seconds + MARGIN_SECONDS


def replacing_seconds(resource: OmegaVLMDeployment) -> int:
    """Longest time without progress in a rollout."""
    return draining_seconds(resource) + 2 * loading_seconds(resource)
