"""Which image the server's pods run. An upgrade of the operator brings another default, and must not restart anybody's model."""

from omega_operator import labels
from omega_operator.desired.container import NAME as SERVER
from omega_operator.kinds import Manifest
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment


def server_image(resource: OmegaVLMDeployment, current: Manifest | None, settings: Settings) -> str:
    """The image that the resource names; without one, what the Deployment was made with, or the operator's default."""
    return resource.spec.image or (settings.keep_server_image and _chosen_before(current)) or settings.server_image


def annotations(resource: OmegaVLMDeployment, image: str) -> dict[str, str]:
    """What a Deployment remembers of it: the choice was ours and not the resource's."""
    return {} if resource.spec.image else {labels.DEFAULT_IMAGE: image}


def _chosen_before(current: Manifest | None) -> str | None:
    """What we chose and it still runs: where somebody changed one of the two, nothing is worth keeping."""
    if current is None:
        return None
    chosen: str | None = (current["metadata"].get("annotations") or {}).get(labels.DEFAULT_IMAGE)
    runs = [one["image"] for one in current["spec"]["template"]["spec"]["containers"] if one["name"] == SERVER]
    return chosen if runs == [chosen] else None
