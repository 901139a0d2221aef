"""What should exist for one resource, if the world looks as observed. Pure: never kopf, a client, a clock or a network."""

from dataclasses import dataclass

from omega_operator.desired import model_cache, names
from omega_operator.desired.autoscaler import autoscaler
from omega_operator.desired.config_map import config_map
from omega_operator.desired.deployment import deployment
from omega_operator.desired.network_policy import network_policy
from omega_operator.desired.pod_disruption_budget import pod_disruption_budget
from omega_operator.desired.pod_monitor import pod_monitor
from omega_operator.desired.service import service
from omega_operator.desired.service_account import service_account
from omega_operator.kinds import Manifest, Ref, ref_of
from omega_operator.observed import Observed
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment
from omega_schema.source import HubSource, parse_source


@dataclass(frozen=True)
class Desired:
    """What to apply, and what to leave as it is. Every other child of the resource is to be deleted."""

    manifests: tuple[Manifest, ...]
    """In the order in which they are applied."""

    held: frozenset[Ref] = frozenset()
    """Children that stay as they are for now."""

    @property
    def refs(self) -> frozenset[Ref]:
        """Every child that may exist."""
        return self.held | {ref_of(manifest) for manifest in self.manifests}


def desired(resource: OmegaVLMDeployment, observed: Observed, settings: Settings) -> Desired:
    """All children of one resource."""
    manifests = [
        service_account(resource, settings),
        config_map(resource, settings),
        service(resource, settings),
    ]
    if resource.spec.network_policy.enabled:
        manifests.append(network_policy(resource, settings))
    if (autoscaling := resource.spec.autoscaling) is not None:
        manifests.append(autoscaler(resource, autoscaling, settings))
    if _most(resource, observed) > 1:
        manifests.append(pod_disruption_budget(resource, settings))
    if resource.spec.monitoring.pod_monitor and observed.pod_monitors:
        manifests.append(pod_monitor(resource, settings))
    cached, held = _cache(resource, observed, settings)
    manifests += cached
    if names.deployment(resource.metadata.name) not in held:
        manifests.append(deployment(resource, observed, settings))
    return Desired(tuple(sorted(manifests, key=lambda one: ref_of(one).order)), held)


def _most(resource: OmegaVLMDeployment, observed: Observed) -> int:
    """How many pods there may be, as far as we know."""
    if resource.spec.autoscaling is not None:
        return resource.spec.autoscaling.max_replicas
    if resource.spec.replicas is not None:
        return resource.spec.replicas
    current = observed.child(names.deployment(resource.metadata.name))
    return int(current["spec"].get("replicas", 1)) if current else 1


def _cache(
    resource: OmegaVLMDeployment, observed: Observed, settings: Settings
) -> tuple[list[Manifest], frozenset[Ref]]:
    """The model's volume and download.

    The Deployment waits for the download, so that no GPU does; one that runs an older revision goes on meanwhile. A Job
    is applied once: nearly all of it is immutable.
    """
    source, cache = parse_source(resource.spec.model.source), resource.spec.model.cache
    if not isinstance(source, HubSource) or cache is None:
        return [], frozenset()
    claim = model_cache.volume_claim(resource, cache, settings)
    job = names.download(resource.metadata.name, source)
    found = observed.child(job)
    waiting = frozenset() if model_cache.is_done(found) else frozenset({names.deployment(resource.metadata.name)})
    if found is not None:
        return [claim], waiting | {job}
    return [claim, model_cache.download(resource, source, settings)], waiting
