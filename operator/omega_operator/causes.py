"""Why a resource cannot make progress, in a fixed word and a sentence that says what to do. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from omega_operator import pod
from omega_operator.desired import model_cache, names
from omega_operator.kinds import Manifest
from omega_operator.observed import Observed
from omega_operator.placement import admits
from omega_operator.rollout import Rollout
from omega_schema.resource import OmegaVLMDeployment
from omega_schema.source import HubSource, parse_source

PULL_FAILURES = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
_FITTING = re.compile("didn't|untolerated|affinity|topology|volume")
"""What the scheduler says when a node is refused for more than what is free on it."""

VOLUME_SECONDS = 30.0
"""How long a claim may wait for its volume before people are told."""

LONGEST = 600
"""Longest quotation from elsewhere, in characters."""


@dataclass(frozen=True)
class Cause:
    """Something that a person has to change."""

    reason: str
    message: str


def refusal(resource: OmegaVLMDeployment) -> Cause | None:
    """What the server of this release cannot do, however often we try. Nothing is applied then."""
    gpu, quantization = resource.spec.gpu, resource.spec.model.quantization
    if quantization != "none" and gpu.tensor_parallel > 1:
        return Cause(
            "Unsupported",
            f"{quantization} works in engines of one GPU only: set spec.model.quantization to none, or "
            "spec.gpu.tensorParallel to 1",
        )
    return None


def find(resource: OmegaVLMDeployment, observed: Observed, way: Rollout) -> Cause | None:
    """The first thing that stands in the way, nearest to its root first; None if nothing does.

    Args:
        resource: what is wanted.
        observed: what there is, with what was applied just now.
        way: of the pods to what is wanted, as it was before that.
    """
    current = observed.child(names.deployment(resource.metadata.name))
    way = replace(
        way, current=current, template=current["spec"]["template"] if current else way.template, observed=observed
    )
    looks = (
        _download(resource, observed),
        _creation(way),
        _pods(resource, observed, way),
        _deadline(current or {}),
    )
    return next((cause for cause in looks if cause is not None), None)


def _download(resource: OmegaVLMDeployment, observed: Observed) -> Cause | None:
    source = parse_source(resource.spec.model.source)
    if not isinstance(source, HubSource):
        return None
    job = names.download(resource.metadata.name, source)
    found = observed.child(job)
    anew = f"kubectl delete job {job.name} -n {resource.metadata.namespace}"
    if words := model_cache.failure(found):
        return Cause("DownloadFailed", f"the download has failed: {_quote(words)}. Correct the cause, then: {anew}")
    mine = [one for one in observed.download_pods if not pod.is_terminating(one) and pod.job_of(one) == job.name]
    if model_cache.is_done(found) or not mine:
        return None
    if cause := _no_volume(resource, observed, mine[-1]) or _before_it_runs(observed, mine[-1]):
        return cause
    words = _failing(mine[-1], observed)
    again = f"It is tried again within 5 minutes, and at once after: {anew}"
    return Cause("DownloadFailed", f"{words}. {again}") if words else None


def _no_volume(resource: OmegaVLMDeployment, observed: Observed, one: Manifest) -> Cause | None:
    """Why the scheduler finds no node for a download. A new volume may take its time."""
    if not pod.is_unschedulable(one):
        return None
    message = pod.condition(one, "PodScheduled").get("message", "")
    if "unbound" not in message:
        return Cause("Unschedulable", f"no node takes the download: {_quote(message)}")
    if pod.condition_age(one, "PodScheduled", observed.at) < VOLUME_SECONDS:
        return None
    claim = names.cache(resource.metadata.name).name
    return Cause(
        "VolumeFailed",
        f"the claim {claim} gets no volume: its storage class must be there, make volumes, and offer ReadWriteMany. See "
        f"kubectl describe pvc {claim} -n {resource.metadata.namespace}; another spec.model.cache.storageClassName "
        "needs a new resource",
    )


def _failing(one: Manifest, observed: Observed) -> str:
    """Why a download ended the last time; nothing once it has got further again."""
    ended = pod.failure(one)
    if ended is None or (observed.download is not None and observed.download.bytes):
        return ""
    words = _last_line(ended.get("message", "")).removeprefix("omega-server: ")
    return words or f"the download ended with exit code {ended.get('exitCode')} ({ended.get('reason', 'no reason')})"


def _creation(way: Rollout) -> Cause | None:
    """The API server refuses the Deployment's pods."""
    failed = pod.condition(way.current or {}, "ReplicaFailure")
    if failed.get("status") != "True":
        return None
    message = failed.get("message", "")
    if pod.exceeds_quota(way.current or {}):
        room = way.observed.room
        if way.makes_room or (room is not None and room.allows(way.candidate)):
            return None  # the controller will hear of it
        quoted = _quote(message.partition("forbidden: ")[2] or message)
        return Cause("QuotaExceeded", f"{quoted}. Raise the ResourceQuota or free some of it{_or_drain(way)}")
    return Cause("PodsRefused", f"the API server refuses the pods: {_quote(message)}")


def _pods(resource: OmegaVLMDeployment, observed: Observed, way: Rollout) -> Cause | None:
    """What the pods of the newest template say; older ones are on their way out."""
    mine = [one for one in observed.pods if way.is_new(one) and not pod.is_terminating(one)]
    return _first(_pod(resource, observed, way, one) for one in mine if not pod.is_ready(one))


def _deadline(current: Manifest) -> Cause | None:
    if pod.condition(current, "Progressing").get("reason") != "ProgressDeadlineExceeded":
        return None
    return Cause("ProgressDeadlineExceeded", "the pods did not become ready in time: look at the server's log for why")


def _pod(resource: OmegaVLMDeployment, observed: Observed, way: Rollout, one: Manifest) -> Cause | None:
    return _scheduling(resource, way, one) or _before_it_runs(observed, one) or _failure(one)


def _before_it_runs(observed: Observed, one: Manifest) -> Cause | None:
    return _first(_waiting(reason, message) for reason, message in pod.waiting(one)) or _first(
        _warning(message) for message in observed.warnings.get(pod.name(one), ())
    )


def _scheduling(resource: OmegaVLMDeployment, way: Rollout, one: Manifest) -> Cause | None:
    if not pod.is_unschedulable(one) or way.makes_room:
        return None
    message = pod.condition(one, "PodScheduled").get("message", "")
    if missing := re.search(r'persistentvolumeclaim "([^"]+)" not found', message):
        return _missing_claim(missing[1])
    room = way.observed.room
    if room is not None and room.takes(way.candidate) and not _FITTING.search(message):
        return None  # since a moment ago, and the scheduler will see it
    if f"Insufficient {resource.spec.gpu.resource_name}" in message:
        return Cause("InsufficientGPU", f"{_gpu_shortage(resource, way)}{_or_drain(way)}")
    return Cause("Unschedulable", f"no node takes the pod: {_quote(message)}")


def _or_drain(way: Rollout) -> str:
    """What helps, too, where the resource itself forbids to stop the older pods first."""
    return ", or set spec.rollout.strategy to Auto" if way.wish == "Surge" and way.older else ""


def _gpu_shortage(resource: OmegaVLMDeployment, way: Rollout) -> str:
    gpu, room = resource.spec.gpu, way.observed.room
    needs = f"needs {gpu.count} {gpu.resource_name} in one node"
    if room is None:
        return f"{needs}; no node has as many free. Free some, add a node, or lower spec.gpu.count"
    fitting = [node for node in room.nodes if admits(node, way.candidate.spec)]
    most = max((node.allocatable.get(gpu.resource_name, Decimal(0)) for node in fitting), default=Decimal(0))
    free = max((node.free.get(gpu.resource_name, Decimal(0)) for node in fitting), default=Decimal(0))
    if most < gpu.count:
        return f"{needs}; the largest node has {most}. Lower spec.gpu.count or add a larger node"
    if free < gpu.count:
        return f"{needs}; the largest node has {free} free. Free some, add a node, or lower spec.gpu.count"
    return f"{needs}; the nodes that have {free} free are short of something else: look at the pod's events"


def _waiting(reason: str, message: str) -> Cause | None:
    if reason in PULL_FAILURES:
        words = _quote(message) or reason
        return Cause("ImagePullFailed", f"{words}. Correct the image's name, or set spec.pod.imagePullSecrets")
    if reason == "CreateContainerConfigError":
        return _missing_secret(message) or Cause("PodConfigInvalid", f"{_quote(message)}. Correct spec.pod")
    if reason in {"CreateContainerError", "RunContainerError"}:
        return Cause("ServerFailed", f"the container cannot start: {_quote(message)}")
    return None


def _failure(one: Manifest) -> Cause | None:
    ended = pod.failure(one)
    if ended is None:
        return None
    if ended.get("reason") == "OOMKilled":
        return Cause("OutOfMemory", "the server used more memory than it may: raise spec.pod.resources.limits.memory")
    words = _last_line(ended.get("message", ""))
    said = f'; its last words: "{words}"' if words else ", without a word: look at its log"
    return Cause("ServerFailed", f"the server ended with exit code {ended.get('exitCode')}{said}")


def _warning(message: str) -> Cause | None:
    """A Warning event of a pod that no container of has begun."""
    if missing := re.search(r'persistentvolumeclaim "([^"]+)" not found', message):
        return _missing_claim(missing[1])
    if found := _missing_secret(message):
        return found
    if "MountVolume" in message or "AttachVolume" in message or "mount volumes" in message:
        return Cause("VolumeFailed", f"a volume cannot be mounted: {_quote(message)}")
    return None


def _missing_secret(message: str) -> Cause | None:
    missing = re.search(r'secret "([^"]+)" not found', message)
    if missing is None:
        return None
    return Cause("SecretMissing", f"there is no Secret {missing[1]} in this namespace: create it")


def _missing_claim(name: str) -> Cause:
    return Cause(
        "PVCMissing",
        f"there is no PersistentVolumeClaim {name} in this namespace: create it, or correct spec.model.source",
    )


def _first(causes: Iterator[Cause | None]) -> Cause | None:
    return next((cause for cause in causes if cause is not None), None)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _quote(lines[-1]) if lines else ""


def _quote(text: str) -> str:
    flat = " ".join(text.split()).rstrip(".")
    return flat if len(flat) <= LONGEST else flat[: LONGEST - 1] + "…"
