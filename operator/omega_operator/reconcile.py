"""The only sequence: observe, desire, apply and prune, settle the pods, write the status. Level-triggered."""

import dataclasses
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from omega_operator import causes, conditions, ownership, pod, rollout, status
from omega_operator.api import Refused
from omega_operator.cache import Cache
from omega_operator.causes import Cause
from omega_operator.desired import Desired, desired
from omega_operator.desired.config_map import digest
from omega_operator.downloads import Downloads
from omega_operator.events import event
from omega_operator.kinds import OPTIONAL, Key, Manifest, Ref, ref_of
from omega_operator.kube import Kube, NameTaken
from omega_operator.labels import DELETION_COST, DOWNLOAD
from omega_operator.observed import Observed
from omega_operator.optional_kinds import OptionalKinds
from omega_operator.pods import PodConfigs
from omega_operator.settings import Settings
from omega_schema.errors import ResourceError
from omega_schema.resource import OmegaVLMDeployment

AFTER_REFUSAL = 60.0
"""Seconds after which something that the API server refused is tried again."""

SOON = 0.05
"""Seconds after which a resource whose children were written is looked at again: what follows from them."""

AFTER_OTHERS = 0.5
"""The same where others wait, for its status too: by then their children are written, of a hundred that change at once."""

_log = logging.getLogger(__name__)


class Reconciler:
    """Brings one resource's part of the cluster in line with it."""

    def __init__(
        self,
        *,
        cache: Cache,
        kube: Kube,
        pods: PodConfigs,
        downloads: Downloads,
        kinds: OptionalKinds,
        settings: Settings,
        now: Callable[[], datetime],
        others_wait: Callable[[], bool],
    ) -> None:
        """Args: what was observed, the cluster, servers, downloads, optional kinds, our settings, and the time in UTC;
        whether other resources wait.
        """
        self._cache, self._kube, self._pods, self._downloads, self._kinds = cache, kube, pods, downloads, kinds
        self._settings, self._now, self._others_wait = settings, now, others_wait

    async def reconcile(self, key: Key) -> float | None:
        """One pass. Returns the seconds after which to look again without being told; None: when something changes.

        Raises:
            ApiError: the API server failed, or somebody else wrote at the same time: try again.
            Fenced: another replica does it.
        """
        body = self._cache.resource(key)
        if body is None:
            self._kube.forget(key)
            self._pods.forget(key)
            self._downloads.forget(key)
            return None
        if body["metadata"].get("deletionTimestamp"):
            return None
        try:
            resource = _parse(body)
        except ResourceError as error:
            generation = body["metadata"]["generation"]
            said = status.invalid(generation, str(error), _status(body), self._now())
            return _at_once_if_newer(await self._write(body, said), generation)
        return await self._bring_about(body, resource)

    def progress(self, key: Key) -> int:
        """How many writes for a resource have gone well so far."""
        return self._kube.progress(key)

    def knows(self, key: Key) -> bool:
        """Whether there is such a resource."""
        return self._cache.resource(key) is not None

    async def _bring_about(self, body: Manifest, resource: OmegaVLMDeployment) -> float | None:
        key, looks = _key(resource), list[float | None]()
        observed = await self._observe(resource)
        wanted = desired(resource, observed, self._settings)
        if _needs_room(resource, observed, wanted):
            room = await self._kube.room(key, resource.spec.pod.priority_class_name, observed.pods)
            observed = dataclasses.replace(observed, room=room)
            wanted = desired(resource, observed, self._settings)
        cause = causes.refusal(resource)
        if cause is None:
            if await self._is_gone(resource, observed, wanted):
                return None
            body = await self._prepare(body, resource, observed, wanted)
            writes = self.progress(key)
            observed, cause = await self._apply(resource, observed, wanted)
            configs = await self._pods.settle(key, observed.pods, digest(resource))
            wrote = self.progress(key) > writes
            if wrote and cause is None and self._others_wait():
                return AFTER_OTHERS  # what others have asked for is done before it is told what was done for this one
            looks += [AFTER_REFUSAL if cause is not None else None, SOON if wrote else None]
            progress = await self._downloads.look(key, observed.download_pods)
            observed = dataclasses.replace(observed, configs=configs, download=progress)
        cause = cause or causes.find(resource, observed, wanted.way)
        body = await self._write(body, status.status(resource, observed, wanted, cause, _status(body)))
        looks += [
            _at_once_if_newer(body, resource.metadata.generation),
            self._pods.next_look(key),
            self._downloads.next_look(key),
            self._next_look(observed, wanted),
        ]
        return min((look for look in looks if look is not None), default=None)

    async def _is_gone(self, resource: OmegaVLMDeployment, observed: Observed, wanted: Desired) -> bool:
        """Whether children are missing because the resource is gone, which a watch may tell us later than of theirs."""
        if all(observed.child(ref_of(one)) for one in wanted.manifests):
            return False
        return not await self._kube.is_there(_key(resource), resource.metadata.uid)

    async def _prepare(
        self, body: Manifest, resource: OmegaVLMDeployment, observed: Observed, wanted: Desired
    ) -> Manifest:
        """What has to be before older pods go: it is said what that means, and they know who goes first."""
        if not wanted.interrupts:
            return body
        body = await self._write(body, status.announced(resource, observed, wanted, _status(body)))
        for place, name in enumerate(wanted.plan.first):
            cost = str(place - len(wanted.plan.first))
            for one in observed.pods:
                if pod.name(one) == name and pod.deletion_cost(one) != cost:
                    await self._kube.annotate_pod(one, {DELETION_COST: cost})
        return body

    async def _observe(self, resource: OmegaVLMDeployment) -> Observed:
        key = _key(resource)
        kinds = await self._kinds.known()
        children = {
            ref: child
            for ref, child in self._cache.children(key).items()
            if ref.kind not in OPTIONAL or ref.kind in kinds
        }
        pods, download_pods = self._cache.pods(key), self._cache.pods(key, DOWNLOAD)
        starting = [one for one in (*pods, *download_pods) if pod.is_starting(one)]
        return Observed(
            at=self._now(),
            children=children,
            pods=pods,
            download_pods=download_pods,
            warnings={pod.name(one): await self._kube.warnings(key.namespace, one) for one in starting},
            kinds=kinds,
        )

    async def _apply(
        self, resource: OmegaVLMDeployment, observed: Observed, wanted: Desired
    ) -> tuple[Observed, Cause | None]:
        """Apply and prune; what the cluster refuses for good is a cause, and stops nothing else."""
        children, cause = dict(observed.children), None
        for manifest in wanted.manifests:
            ref = ref_of(manifest)
            try:
                children[ref] = await self._kube.apply(
                    _key(resource), manifest, resource.metadata.uid, observed.child(ref)
                )
            except NameTaken as error:
                cause = cause or Cause("NameTaken", str(error))
            except Refused as error:
                cause = cause or Cause("Refused", f"the API server refuses {ref}: {error}")
        for ref in self._unwanted(resource, observed, wanted):
            await self._kube.prune(resource.metadata.namespace, ref, children.pop(ref))
        return dataclasses.replace(observed, children=children), cause

    def _unwanted(self, resource: OmegaVLMDeployment, observed: Observed, wanted: Desired) -> list[Ref]:
        return [
            ref
            for ref, child in observed.children.items()
            if ref not in wanted.refs and ownership.is_owned(child, resource.metadata.uid)
        ]

    def _next_look(self, observed: Observed, wanted: Desired) -> float | None:
        """Neither the events of a pod that does not start are watched nor nodes and quotas: look again, later and later.

        But in time for a new pod that has waited long enough for room.
        """
        pods = (*observed.pods, *observed.download_pods)
        current = wanted.way.current or {}
        waits = [pod.condition_age(one, "PodScheduled", observed.at) for one in pods if pod.is_unschedulable(one)]
        waits += [pod.condition_age(current, "ReplicaFailure", observed.at)] if pod.exceeds_quota(current) else []
        ages = [*waits, *(self._age(one) for one in pods if pod.is_starting(one))]
        looks = [min(max(age / 3, 1.0), 30.0) for age in ages]
        looks += [rollout.PATIENCE - age for age in waits if age < rollout.PATIENCE and wanted.way.older]
        return min(looks, default=None)

    def _age(self, one: Manifest) -> float:
        created = datetime.fromisoformat(one["metadata"]["creationTimestamp"])
        return (self._now() - created).total_seconds()

    async def _write(self, body: Manifest, new: dict[str, Any]) -> Manifest:
        """Write the status if it changed, and tell what a person would want to know. Returns the resource as it is then.

        The status comes last: who is cut off before it tells again, and an Event that is told again is told once.
        """
        before = _status(body)
        if new == before:
            return body
        head = body["metadata"]
        key = Key(head["namespace"], head["name"])
        for transition in conditions.transitions(before, new):
            if await self._kube.tell(key, event(key, head["uid"], transition, self._settings, self._now())):
                _log.info(
                    "%s/%s: %s is %s, %s: %s",
                    *key,
                    transition.type,
                    transition.status,
                    transition.reason,
                    transition.message,
                )
        return await self._kube.write_status(key, head["uid"], new)


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def _needs_room(resource: OmegaVLMDeployment, observed: Observed, wanted: Desired) -> bool:
    """All nodes and pods of a cluster are much to read: only where a decision or a sentence depends on them."""
    way = wanted.way
    if any(pod.is_unschedulable(one) for one in observed.pods) or pod.exceeds_quota(way.current or {}):
        return True
    return resource.spec.rollout.strategy != "Surge" and rollout.begins(way.current, way.template)


def _key(resource: OmegaVLMDeployment) -> Key:
    return Key(resource.metadata.namespace, resource.metadata.name)


def _at_once_if_newer(body: Manifest, generation: int) -> float | None:
    """Somebody may have changed a resource before its status was written: in the answer that is no news any more."""
    return 0.0 if body["metadata"]["generation"] > generation else None


def _parse(body: Manifest) -> OmegaVLMDeployment:
    """The resource without its status, which is ours and may be of another version."""
    return OmegaVLMDeployment.parse({field: value for field, value in body.items() if field != "status"})


def _status(body: Manifest) -> dict[str, Any]:
    return body.get("status") or {}
