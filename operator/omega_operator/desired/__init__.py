"""What should exist for one resource, if the world looks as observed. Pure: never kopf, a client, a clock or a network."""

from dataclasses import dataclass

from omega_operator.desired import model_cache, names
from omega_operator.desired.autoscaler import autoscaler
from omega_operator.desired.config_map import config_map
from omega_operator.desired.deployment import deployment, replicas_of, rollout, template_of
from omega_operator.desired.http_route import http_route
from omega_operator.desired.inference_pool import inference_pool
from omega_operator.desired.network_policy import download_policy, network_policy
from omega_operator.desired.pod_disruption_budget import pod_disruption_budget
from omega_operator.desired.pod_monitor import pod_monitor
from omega_operator.desired.scaled_object import scaled_object, trigger_authentication
from omega_operator.desired.service import service
from omega_operator.desired.service_account import service_account
from omega_operator.kinds import (
    DEPLOYMENT,
    HTTP_ROUTE,
    INFERENCE_POOL,
    POD_MONITOR,
    SCALED_OBJECT,
    TRIGGER_AUTHENTICATION,
    Kind,
    Manifest,
    Ref,
    ref_of,
)
from omega_operator.observed import Observed
from omega_operator.ownership import is_owned
from omega_operator.rollout import Plan, Rollout, begins, plan_of
from omega_operator.settings import Settings
from omega_schema.resource import Autoscaling, Gateway, OmegaVLMDeployment
from omega_schema.source import HubSource, parse_source


@dataclass(frozen=True)
class Desired:
    """What to apply, and what to leave as it is. Every other child of the resource is to be deleted."""

    manifests: tuple[Manifest, ...]
    """In the order in which they are applied."""

    held: frozenset[Ref]
    """Children that stay as they are for now."""

    way: Rollout
    """Of the pods, to the template that they should have."""

    plan: Plan
    """How to go it."""

    @property
    def interrupts(self) -> bool:
        """Whether older pods will go for new ones as soon as this is applied, which was not so before."""
        before = plan_of(self.way.current)
        is_new = begins(self.way.current, self.way.template) or (before.surge, before.unavailable) != (
            self.plan.surge,
            self.plan.unavailable,
        )
        is_held = any(ref.kind is DEPLOYMENT for ref in self.held)
        return self.plan.drains and is_new and not is_held and bool(self.way.older)

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
        manifests += _policies(resource, settings)
    if resource.spec.autoscaling is not None:
        manifests += _scaling(resource, resource.spec.autoscaling, observed, settings)
    if _most(resource, observed) > 1:
        manifests.append(pod_disruption_budget(resource, settings))
    if resource.spec.monitoring.pod_monitor and POD_MONITOR in observed.kinds:
        manifests.append(pod_monitor(resource, settings))
    if resource.spec.gateway is not None:
        manifests += _ways_in(resource, resource.spec.gateway, observed, settings)
    cached, held = _cache(resource, observed, settings)
    manifests += cached
    way = rollout(resource, observed, template_of(resource, observed, settings))
    plan = way.plan()
    if names.deployment(resource.metadata.name) not in held:
        manifests.append(deployment(resource, way, plan, settings))
    return Desired(tuple(sorted(manifests, key=lambda one: ref_of(one).order)), held, way, plan)


def missing(resource: OmegaVLMDeployment, observed: Observed) -> tuple[Kind, ...]:
    """Kinds that the resource asks for and the cluster does not know: of these there are no children."""
    spec = resource.spec
    asked = {
        POD_MONITOR: spec.monitoring.pod_monitor,
        SCALED_OBJECT: spec.autoscaling is not None and spec.autoscaling.scaler == "KEDA",
        HTTP_ROUTE: spec.gateway is not None,
        INFERENCE_POOL: spec.gateway is not None and spec.gateway.endpoint_picker is not None,
    }
    return tuple(kind for kind, is_asked in asked.items() if is_asked and kind not in observed.kinds)


def _policies(resource: OmegaVLMDeployment, settings: Settings) -> list[Manifest]:
    policies = [network_policy(resource, settings)]
    if isinstance(parse_source(resource.spec.model.source), HubSource):
        policies.append(download_policy(resource, settings))
    return policies


def _scaling(
    resource: OmegaVLMDeployment, autoscaling: Autoscaling, observed: Observed, settings: Settings
) -> list[Manifest]:
    """One autoscaler, never two: where there is one of the other kind, it goes first. KEDA refuses to be the second."""
    name = resource.metadata.name
    has_keda = {SCALED_OBJECT, TRIGGER_AUTHENTICATION} <= observed.kinds
    by_keda = autoscaling.scaler == "KEDA" or (autoscaling.scaler == "Auto" and has_keda)
    other = observed.child(names.autoscaler(name) if by_keda else names.scaled_object(name))
    if (by_keda and not has_keda) or (other is not None and is_owned(other, resource.metadata.uid)):
        return []
    if not by_keda:
        return [autoscaler(resource, autoscaling, settings)]
    made = [scaled_object(resource, autoscaling, settings)]
    if resource.spec.auth is not None:
        made.append(trigger_authentication(resource, resource.spec.auth, settings))
    return made


def _ways_in(resource: OmegaVLMDeployment, gateway: Gateway, observed: Observed, settings: Settings) -> list[Manifest]:
    made, pool = [], False
    if gateway.endpoint_picker is not None and INFERENCE_POOL in observed.kinds:
        made, pool = [inference_pool(resource, gateway.endpoint_picker, settings)], True
    if HTTP_ROUTE in observed.kinds:
        made.append(http_route(resource, gateway, settings, pool=pool))
    return made


def _most(resource: OmegaVLMDeployment, observed: Observed) -> int:
    """How many pods there may be, as far as we know."""
    if resource.spec.autoscaling is not None:
        return resource.spec.autoscaling.max_replicas
    return replicas_of(resource, observed.child(names.deployment(resource.metadata.name)))


def _cache(
    resource: OmegaVLMDeployment, observed: Observed, settings: Settings
) -> tuple[list[Manifest], frozenset[Ref]]:
    """The model's volume and download.

    The Deployment waits for the download, so that no GPU does; one that runs an older revision goes on meanwhile. A Job
    is applied once: nearly all of it is immutable. One that has done its work stays, whatever becomes of the resource.
    """
    source, cache = parse_source(resource.spec.model.source), resource.spec.model.cache
    if not isinstance(source, HubSource) or cache is None:
        return [], frozenset()
    claim = model_cache.volume_claim(resource, cache, settings)
    job = model_cache.download(resource, source, observed, settings)
    found = observed.child(ref_of(job))
    if model_cache.is_done(found):
        return [claim], frozenset({ref_of(job)})
    waiting = frozenset({names.deployment(resource.metadata.name)})
    if found is None:
        return [claim, job], waiting
    if model_cache.is_outdated(found, job):
        return [claim], waiting  # it goes away, and the next look makes it anew
    return [claim], waiting | {ref_of(job)}
