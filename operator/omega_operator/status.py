"""The status of a resource, judged only by what was observed. Pure.

kstatus reads it so: Stalled True is failed, Reconciling True is in progress, Ready True with the newest
observedGeneration is current.
"""

from datetime import datetime
from typing import Any

from omega_operator import labels, pod
from omega_operator.causes import Cause
from omega_operator.conditions import Judgement, dated
from omega_operator.desired import missing, model_cache, names
from omega_operator.desired.config_map import digest
from omega_operator.kinds import OPTIONAL, Manifest
from omega_operator.observed import Observed, PodConfig
from omega_schema.resource import OmegaVLMDeployment
from omega_schema.source import HubSource, parse_source

_UNASKED = PodConfig(reached=False)

SUMMARY = 120
"""Longest summary, in characters: it is a column of kubectl get."""


def status(
    resource: OmegaVLMDeployment, observed: Observed, cause: Cause | None, before: Manifest, now: datetime
) -> dict[str, Any]:
    """The whole status.

    Args:
        resource: what is wanted.
        observed: what there is.
        cause: what stands in the way, if anything does.
        before: the status so far, which dates the conditions.
        now: in UTC.
    """
    state = _State(resource, observed)
    ready = _ready(state, cause)
    judgements = [ready, _reconciling(ready, cause), _stalled(cause), _config_applied(state)]
    if state.hub_source is not None:
        judgements.append(_model_cached(state, state.hub_source))
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
        "conditions": dated(judgements, before, resource.metadata.generation, now),
    }


def invalid(generation: int, message: str, before: Manifest, now: datetime) -> dict[str, Any]:
    """The status of a resource that cannot be read: the rest of it stays as it was."""
    cause = Cause("InvalidSpec", f"{message}. Correct the resource; until then everything stays as it is")
    ready = Judgement("Ready", "False", cause.reason, cause.message)
    kept = {
        field: value for field, value in before.items() if field not in {"conditions", "observedGeneration", "summary"}
    }
    judgements = [ready, _reconciling(ready, cause), _stalled(cause)]
    return kept | {
        "observedGeneration": generation,
        "summary": _summary(ready),
        "conditions": dated(judgements, before, generation, now),
    }


class _State:
    """Numbers that several conditions need."""

    def __init__(self, resource: OmegaVLMDeployment, observed: Observed) -> None:
        self.resource, self.observed, self.name = resource, observed, resource.metadata.name
        self.deployment = observed.child(names.deployment(self.name))
        self.pods = [one for one in observed.pods if not pod.is_terminating(one)]
        self.ready = sum(pod.is_ready(one) for one in self.pods)
        self.wanted = self._wanted()
        self.config = digest(resource)
        self.running = [one for one in self.pods if pod.is_running(one)]
        self.applied = [one for one in self.running if self.said(one).hash == self.config]
        source = parse_source(resource.spec.model.source)
        self.hub_source = source if isinstance(source, HubSource) else None

    def said(self, one: Manifest) -> PodConfig:
        """What a pod says of its configuration."""
        return self.observed.configs.get(pod.name(one), _UNASKED)

    def is_new(self, one: Manifest) -> bool:
        """Whether a pod is of the newest template."""
        newest = self.deployment["spec"]["template"] if self.deployment else None
        return newest is not None and pod.template_digest(one) == pod.template_digest(newest)

    @property
    def gpus(self) -> dict[str, int]:
        """GPUs per pod, of the ready pods and of all wanted ones; engines on the CPU are none."""
        gpu = self.resource.spec.gpu
        each = gpu.count if gpu.device == "cuda" else 0
        return {"perReplica": each, "ready": each * self.ready, "desired": each * self.wanted}

    @property
    def is_rolled_out(self) -> bool:
        """Whether the Deployment controller has done all that the newest Deployment asks for."""
        if self.deployment is None:
            return False
        seen = self.deployment.get("status", {})
        return (
            seen.get("observedGeneration") == self.deployment["metadata"].get("generation")
            and seen.get("updatedReplicas", 0) == self.wanted
            and seen.get("replicas", 0) == self.wanted
            and seen.get("availableReplicas", 0) == self.wanted
        )

    def _wanted(self) -> int:
        if self.resource.spec.replicas is not None:
            return self.resource.spec.replicas
        return int(self.deployment["spec"].get("replicas", 1)) if self.deployment else 1


def _ready(state: _State, cause: Cause | None) -> Judgement:
    if cause is not None:
        serving = f". {state.ready} of {state.wanted} pods serve meanwhile" if state.ready else ""
        return Judgement("Ready", "False", cause.reason, cause.message + serving)
    if not state.is_rolled_out:
        return _progress(state)
    if state.wanted == 0:
        words = f"no pods are wanted: raise spec.replicas to serve{_without(state)}"
        return Judgement("Ready", "True", "ScaledToZero", words)
    return Judgement("Ready", "True", "Ready", f"{state.ready} of {state.wanted} pods serve{_without(state)}")


def _without(state: _State) -> str:
    """What was asked for and cannot be here."""
    return "".join(
        f"; there is no {kind.name}, because the cluster does not know that kind: install {OPTIONAL[kind]}"
        for kind in missing(state.resource, state.observed)
    )


def _progress(state: _State) -> Judgement:
    if state.hub_source is not None and state.deployment is None:
        return Judgement("Ready", "False", "Downloading", "the model is being downloaded; the pods start after that")
    older = sum(pod.is_ready(one) for one in state.pods if not state.is_new(one))
    if older:
        words = f"{state.ready - older} of {state.wanted} new pods serve, {older} older ones meanwhile"
        return Judgement("Ready", "False", "RollingOut", words)
    return Judgement(
        "Ready", "False", "Starting", f"{state.ready} of {state.wanted} pods serve, the others are starting"
    )


def _reconciling(ready: Judgement, cause: Cause | None) -> Judgement:
    if ready.status == "True":
        return Judgement("Reconciling", "False", "Current", "everything is as the resource says")
    if cause is not None:
        return Judgement("Reconciling", "False", "Stalled", "nothing goes on until the cause is removed")
    return Judgement("Reconciling", "True", ready.reason, ready.message)


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


def _model_cached(state: _State, source: HubSource) -> Judgement:
    job = state.observed.child(names.download(state.name, source))
    what = f"{source.repo}@{source.revision}"
    if model_cache.is_done(job):
        return Judgement("ModelCached", "True", "Cached", f"{what} is in the volume")
    if model_cache.has_failed(job):
        return Judgement("ModelCached", "False", "DownloadFailed", f"the download of {what} gave up, see Stalled")
    return Judgement("ModelCached", "False", "Downloading", f"{what} is being downloaded")


def _summary(ready: Judgement) -> str:
    """Short for a column: the sentence up to what to do."""
    if ready.status == "True":
        return ready.reason
    text = f"{ready.reason}: {ready.message.partition('. ')[0]}"
    return text if len(text) <= SUMMARY else text[: SUMMARY - 1] + "…"
