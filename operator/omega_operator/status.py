"""The status of a resource, judged only by what was observed. Pure.

kstatus reads it so: Stalled True is failed, Reconciling True is in progress, Ready True with the newest
observedGeneration is current.
"""

from datetime import datetime
from typing import Any

from omega_operator import labels, pod
from omega_operator.causes import Cause
from omega_operator.conditions import Judgement, dated
from omega_operator.desired import Desired, model_cache, names
from omega_operator.desired.config_map import digest
from omega_operator.desired.deployment import replicas_of
from omega_operator.desired.patience import draining_seconds
from omega_operator.kinds import Manifest
from omega_operator.observed import Observed, PodConfig
from omega_operator.remarks import remarks
from omega_operator.rollout import begins
from omega_schema.resource import OmegaVLMDeployment
from omega_schema.source import HubSource, parse_source

_UNASKED = PodConfig(reached=False)

SUMMARY = 120
"""Longest summary, in characters: it is a column of kubectl get."""


def status(
    resource: OmegaVLMDeployment,
    observed: Observed,
    wanted: Desired,
    cause: Cause | None,
    before: Manifest,
) -> dict[str, Any]:
    """The whole status.

    Args:
        resource: what is wanted.
        observed: what there is, and when.
        wanted: what the resource comes to.
        cause: what stands in the way, if anything does.
        before: the status so far, which dates the conditions.
    """
    state = _State(resource, observed, wanted)
    ready, config = _ready(state, cause), _config_applied(state)
    judgements = [ready, _reconciling(ready, cause, config), _stalled(cause), config]
    if state.hub_source is not None:
        judgements.append(_model_cached(state, state.hub_source, cause))
    return {
        "observedGeneration": resource.metadata.generation,
        "replicas": len(state.pods),
        "readyReplicas": state.ready,
        "ready": f"{state.ready}/{state.wanted}",
        "summary": _summary(ready),
        "selector": labels.selector_text(state.name),
        "endpoint": names.endpoint(state.name, resource.metadata.namespace, resource.spec.service.port),
        "gpus": state.gpus,
        "config": {"desired": state.config, "appliedReplicas": len(state.applied)},
        "conditions": dated(judgements, before, resource.metadata.generation, observed.at),
    }


def announced(resource: OmegaVLMDeployment, observed: Observed, wanted: Desired, before: Manifest) -> dict[str, Any]:
    """The status just before older pods go for new ones. What the pods say of their configuration is asked later."""
    new = status(resource, observed, wanted, None, before)
    asked = {one["type"]: one for one in before.get("conditions") or () if one["type"] == "ConfigApplied"}
    kept = {field: before[field] for field in ("config",) if field in before}
    return new | kept | {"conditions": [asked.get(one["type"], one) for one in new["conditions"]]}


def invalid(generation: int, message: str, before: Manifest, now: datetime) -> dict[str, Any]:
    """The status of a resource that cannot be read: the rest of it stays as it was."""
    cause = Cause("InvalidSpec", f"{message}. Correct the resource; until then everything stays as it is")
    ready = Judgement("Ready", "False", cause.reason, cause.message)
    kept = {
        field: value for field, value in before.items() if field not in {"conditions", "observedGeneration", "summary"}
    }
    judgements = [ready, _reconciling(ready, cause, None), _stalled(cause)]
    return kept | {
        "observedGeneration": generation,
        "summary": _summary(ready),
        "conditions": dated(judgements, before, generation, now),
    }


class _State:
    """Numbers that several conditions need."""

    def __init__(self, resource: OmegaVLMDeployment, observed: Observed, wanted: Desired) -> None:
        self.resource, self.observed, self.name = resource, observed, resource.metadata.name
        self.way, self.plan = wanted.way, wanted.plan
        self.is_held = names.deployment(self.name) in wanted.held
        self.deployment = observed.child(names.deployment(self.name))
        self.pods = [one for one in observed.pods if not pod.is_terminating(one)]
        self.ready = sum(pod.is_ready(one) for one in self.pods)
        self.new_ready = sum(pod.is_ready(one) and self.way.is_new(one) for one in self.pods)
        self.wanted = replicas_of(resource, self.deployment)
        self.config = digest(resource)
        self.running = [one for one in self.pods if pod.is_running(one)]
        self.applied = [one for one in self.running if self.said(one).hash == self.config]
        source = parse_source(resource.spec.model.source)
        self.hub_source = source if isinstance(source, HubSource) else None

    def said(self, one: Manifest) -> PodConfig:
        """What a pod says of its configuration."""
        return self.observed.configs.get(pod.name(one), _UNASKED)

    @property
    def gpus(self) -> dict[str, int]:
        """GPUs per pod, of the ready pods and of all wanted ones; engines on the CPU are none."""
        gpu = self.resource.spec.gpu
        each = gpu.count if gpu.device == "cuda" else 0
        return {"perReplica": each, "ready": each * self.ready, "desired": each * self.wanted}

    @property
    def is_rolled_out(self) -> bool:
        """Whether the Deployment controller has done all that the newest Deployment asks for, and the pods say so too."""
        if self.deployment is None or begins(self.deployment, self.way.template):
            return False
        if self.resource.spec.replicas is None and self.has_enough:
            return True
        seen = self.deployment.get("status", {})
        return (
            seen.get("observedGeneration") == self.deployment["metadata"].get("generation")
            and seen.get("updatedReplicas", 0) == self.wanted
            and seen.get("replicas", 0) == self.wanted
            and seen.get("availableReplicas", 0) == self.wanted
            and self.new_ready >= self.wanted
        )

    @property
    def has_enough(self) -> bool:
        """Whether all pods are new and as many serve as must, while an autoscaler may want others to come or to go."""
        autoscaling = self.resource.spec.autoscaling
        fewest = autoscaling.min_replicas if autoscaling else 1
        return all(map(self.way.is_new, self.pods)) and self.new_ready >= min(fewest, self.wanted)


def _ready(state: _State, cause: Cause | None) -> Judgement:
    if cause is not None:
        serving = f". {state.ready} of {state.wanted} pods serve meanwhile" if state.ready else ""
        return Judgement("Ready", "False", cause.reason, cause.message + serving)
    if not state.is_rolled_out:
        return _progress(state)
    if state.wanted == 0:
        words = f"no pods are wanted: raise spec.replicas to serve{_remarks(state)}"
        return Judgement("Ready", "True", "ScaledToZero", words)
    others = ", the others are starting" if state.ready < state.wanted else ""
    return Judgement("Ready", "True", "Ready", f"{state.ready} of {state.wanted} pods serve{others}{_remarks(state)}")


def _remarks(state: _State) -> str:
    return "".join(f"; {remark}" for remark in remarks(state.resource, state.observed))


def _progress(state: _State) -> Judgement:
    if state.is_held:
        serving = f"; {state.ready} older ones serve meanwhile" if state.ready else ""
        far = f", {state.observed.download.words}" if state.observed.download else ""
        words = f"the model is being downloaded{far}; its pods start after that{serving}"
        return Judgement("Ready", "False", "Downloading", words)
    older = [one for one in state.observed.pods if not state.way.is_new(one)]
    if older and state.plan.drains and state.plan.unavailable >= state.wanted > 0 and not state.new_ready:
        downtime = f"no pod serves until a new one has loaded{_last_time(older)}, because {_why_drain(state)}"
        requests = f"The older ones have {draining_seconds(state.resource)} s to finish their requests"
        return Judgement("Ready", "False", "Downtime", f"{downtime}. {requests}")
    if older_ready := sum(map(pod.is_ready, older)):
        said = f"{state.new_ready} of {state.wanted} new pods serve, {older_ready} older ones meanwhile"
        few = f". {_why_drain(state).capitalize()}, one after another" if state.plan.drains else ""
        return Judgement("Ready", "False", "RollingOut", f"{said}{few}")
    return Judgement(
        "Ready", "False", "Starting", f"{state.ready} of {state.wanted} pods serve, the others are starting"
    )


def _why_drain(state: _State) -> str:
    if state.way.wish == "DrainFirst":
        return "the older ones stop first, as spec.rollout.strategy says"
    return "the older ones stop first: there is no room beside them"


def _last_time(older: list[Manifest]) -> str:
    """How long a pod took from its node to its first answer, in words; nothing if none tells."""
    took = [seconds for one in older if (seconds := pod.seconds_to_start(one)) is not None]
    return f" ({min(took):.0f} s the last time)" if took else ""


def _reconciling(ready: Judgement, cause: Cause | None, config: Judgement | None) -> Judgement:
    if cause is not None:
        return Judgement("Reconciling", "False", "Stalled", "nothing goes on until the cause is removed")
    if ready.status != "True":
        return Judgement("Reconciling", "True", ready.reason, ready.message)
    if config is not None and config.reason == "Applying":
        return Judgement("Reconciling", "True", "Applying", config.message)
    return Judgement("Reconciling", "False", "Current", "everything is as the resource says")


def _stalled(cause: Cause | None) -> Judgement:
    if cause is None:
        return Judgement("Stalled", "False", "NotStalled", "nothing stands in the way")
    return Judgement("Stalled", "True", cause.reason, cause.message)


def _config_applied(state: _State) -> Judgement:
    """What the pods that run a server said."""
    if not state.running:
        return Judgement(
            "ConfigApplied", "Unknown", "NoPods", "no pod runs yet; each reads the configuration when it starts"
        )
    behind = [one for one in state.running if one not in state.applied]
    if not behind:
        return Judgement(
            "ConfigApplied", "True", "Applied", f"{len(state.applied)} of {len(state.running)} pods run {state.config}"
        )
    for one in behind:
        if error := state.said(one).error:
            words = f"pod {pod.name(one)} keeps the configuration before it, because: {error}"
            return Judgement("ConfigApplied", "False", "ConfigRejected", words)
    silent = [pod.name(one) for one in behind if not state.said(one).reached]
    if len(silent) == len(behind):
        words = f"pod {silent[0]} does not answer on /ready yet; it runs the new configuration once it does"
        return Judgement("ConfigApplied", "Unknown", "NoAnswer", words)
    words = f"{len(state.applied)} of {len(state.running)} pods run {state.config}"
    return Judgement("ConfigApplied", "False", "Applying", words)


def _model_cached(state: _State, source: HubSource, cause: Cause | None) -> Judgement:
    what, progress = f"{source.repo}@{source.revision}", state.observed.download
    job = state.observed.child(names.download(state.name, source))
    if model_cache.is_done(job):
        return Judgement("ModelCached", "True", "Cached", f"{what} is in the volume")
    if cause is not None and cause.reason == "DownloadFailed":
        return Judgement("ModelCached", "False", "DownloadFailed", f"{what} cannot be downloaded, see Stalled")
    if progress is None:
        lost = f"the pod that downloads {what} was lost; its Job makes another one within 10 minutes"
        words = lost if model_cache.lacks_a_pod(job) else f"the download of {what} is starting"
        return Judgement("ModelCached", "False", "Downloading", words)
    if progress.is_silent:
        why = progress.trouble or "the hub does not answer"
        return Judgement("ModelCached", "False", "NoProgress", f"{what}: {progress.words}: {why}; it is tried again")
    return Judgement("ModelCached", "False", "Downloading", f"{what}: {progress.words}")


def _summary(ready: Judgement) -> str:
    """Short for a column: the sentence up to what to do."""
    if ready.status == "True":
        return ready.reason
    text = f"{ready.reason}: {ready.message.partition('. ')[0]}"
    return text if len(text) <= SUMMARY else text[: SUMMARY - 1] + "…"
