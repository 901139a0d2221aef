"""What no single field can say: each rule once as CEL for the API server and once as Python for everybody else.

A rule stands at the model that holds all the fields it compares. The API server evaluates `cel` there when a resource
is applied, after defaults were filled in; pydantic evaluates `holds` there when a resource or a configuration is
parsed. tests/schema/cases pins both to the same verdicts.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from omega_schema import limits
from omega_schema.errors import ResourceError
from omega_schema.quantity import value_of
from omega_schema.source import HUB_PATTERN, IMAGE_PATTERN, PATH_PATTERN, PVC_PATTERN, SCHEMES, scheme_of

NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
HOST_PATTERN = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


@dataclass(frozen=True)
class Sentence:
    """What a rule says to the API server."""

    on: str
    """Name of the model that it stands at."""

    field: str
    """Path from that model to the field that an error is shown at, for example .count."""

    message: str
    """What to do when it does not hold."""

    cel: str
    """The condition, in CEL."""


@dataclass(frozen=True)
class Rule(Sentence):
    """One sentence about the fields of one model."""

    holds: Callable[[Any], bool]
    """The condition again, on the parsed model."""


@dataclass(frozen=True)
class Transition(Sentence):
    """One sentence about a change of one model; it is not asked when a resource is created."""

    holds: Callable[[Any, Any], bool]
    """The condition again, on the new and the old model."""


def _is_network(text: str) -> bool:
    _, _, prefix = text.partition("/")
    if not re.fullmatch("0|[1-9][0-9]{0,2}", prefix):
        return False
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _form(scheme: str, pattern: str, form: str) -> Rule:
    return Rule(
        on="Model",
        field=".source",
        message=f"a source with {scheme}:// must have the form {form}",
        cel=f"!self.source.startsWith('{scheme}://') || self.source.matches(r'{pattern}')",
        holds=lambda model: scheme_of(model.source) != scheme or re.fullmatch(pattern, model.source) is not None,
    )


def _not_reserved(on: str, field: str) -> Rule:
    return Rule(
        on=on,
        field=f".{field}",
        message=f"{field} must not begin with {' or '.join(limits.RESERVED_PREFIXES)}: the operator sets these",
        cel=f"!has(self.{field}) || self.{field}.all(key, "
        + " && ".join(f"!key.startsWith('{prefix}')" for prefix in limits.RESERVED_PREFIXES)
        + ")",
        holds=lambda model: not any(key.startswith(limits.RESERVED_PREFIXES) for key in getattr(model, field)),
    )


def _within_limits(resources: Any) -> bool:
    most = resources.get("limits", {})
    return all(
        value_of(size) <= value_of(most[name]) for name, size in resources.get("requests", {}).items() if name in most
    )


def _shared_memory_fits(pod: Any) -> bool:
    memory = pod.resources.get("limits", {}).get("memory")
    return pod.shared_memory is None or memory is None or value_of(pod.shared_memory) <= value_of(memory)


_SCHEME_TESTS = " || ".join(f"self.source.startsWith('{scheme}://')" for scheme in SCHEMES)

RULES: tuple[Rule, ...] = (
    Rule(
        on="OmegaVLMDeployment",
        field=".metadata",
        message=f"the name must have at most {limits.MAX_NAME} characters, because the names of the Deployment, the "
        "pods and the rest are made from it: choose a shorter one",
        cel=f"size(self.metadata.name) <= {limits.MAX_NAME}",
        holds=lambda resource: len(resource.metadata.name) <= limits.MAX_NAME,
    ),
    Rule(
        on="OmegaVLMDeployment",
        field=".metadata",
        message="the name must begin with a letter and have only lower-case letters, digits and -, because a Service "
        "gets it",
        cel=f"self.metadata.name.matches(r'{NAME_PATTERN}')",
        holds=lambda resource: re.fullmatch(NAME_PATTERN, resource.metadata.name) is not None,
    ),
    # replicas
    Rule(
        on="Spec",
        field=".replicas",
        message="replicas and autoscaling must not both be set, because each would undo the other: remove one of them",
        cel="!has(self.replicas) || !has(self.autoscaling)",
        holds=lambda spec: spec.replicas is None or spec.autoscaling is None,
    ),
    Rule(
        on="Autoscaling",
        field=".minReplicas",
        message="minReplicas must not be above maxReplicas",
        cel="self.minReplicas <= self.maxReplicas",
        holds=lambda autoscaling: autoscaling.min_replicas <= autoscaling.max_replicas,
    ),
    # model
    Rule(
        on="Model",
        field=".source",
        message="source must begin with pvc://, hf://, oci:// or path:///",
        cel=_SCHEME_TESTS,
        holds=lambda model: "://" in model.source and scheme_of(model.source) in SCHEMES,
    ),
    Rule(
        on="Model",
        field=".source",
        message="source must not contain ..: write the path without it",
        cel="!self.source.contains('..')",
        holds=lambda model: ".." not in model.source,
    ),
    _form("pvc", PVC_PATTERN, "pvc://CLAIM/PATH: the name of a PersistentVolumeClaim and a directory in it"),
    _form("hf", HUB_PATTERN, "hf://ORG/NAME or hf://ORG/NAME@REVISION"),
    _form("oci", IMAGE_PATTERN, "oci://IMAGE, for example oci://registry.example.com/models/omega:1"),
    _form("path", PATH_PATTERN, "path:///DIRECTORY: an absolute directory in the server image"),
    Rule(
        on="Model",
        field=".cache",
        message="a source with hf:// needs a volume to keep the model: set model.cache.size, for example 200Gi",
        cel="!self.source.startsWith('hf://') || has(self.cache)",
        holds=lambda model: scheme_of(model.source) != "hf" or model.cache is not None,
    ),
    Rule(
        on="Model",
        field=".cache",
        message="only a source with hf:// is cached: remove model.cache",
        cel="self.source.startsWith('hf://') || !has(self.cache)",
        holds=lambda model: scheme_of(model.source) == "hf" or model.cache is None,
    ),
    # gpu
    Rule(
        on="Gpu",
        field=".tensorParallel",
        message="gpu.count must be a multiple of gpu.tensorParallel: each engine takes tensorParallel GPUs",
        cel="self.count % self.tensorParallel == 0",
        holds=lambda gpu: gpu.count % gpu.tensor_parallel == 0,
    ),
    Rule(
        on="Gpu",
        field=".count",
        message="device cuda needs at least one GPU: set gpu.count to 1 or more, or set gpu.device to cpu",
        cel="self.device != 'cuda' || self.count > 0",
        holds=lambda gpu: gpu.device != "cuda" or gpu.count > 0,
    ),
    Rule(
        on="Gpu",
        field=".tensorParallel",
        message="gpu.count 0 runs one engine, which cannot be split: set gpu.tensorParallel to 1, or gpu.count to a "
        "multiple of it",
        cel="self.count > 0 || self.tensorParallel == 1",
        holds=lambda gpu: gpu.count > 0 or gpu.tensor_parallel == 1,
    ),
    # generation
    Rule(
        on="Generation",
        field=".defaults.maxNewTokens",
        message="defaults.maxNewTokens must not exceed limits.maxNewTokens: lower the default or raise the limit",
        cel="self.defaults.maxNewTokens <= self.limits.maxNewTokens",
        holds=lambda generation: generation.defaults.max_new_tokens <= generation.limits.max_new_tokens,
    ),
    Rule(
        on="Spec",
        field=".generation.defaults.maxNewTokens",
        message="generation.defaults.maxNewTokens must be less than model.maxLength, or no prompt would fit: lower the "
        "default or raise model.maxLength",
        cel="self.generation.defaults.maxNewTokens < self.model.maxLength",
        holds=lambda spec: spec.generation.defaults.max_new_tokens < spec.model.max_length,
    ),
    # images
    Rule(
        on="Images",
        field=".maxSize",
        message="a picture of maxSize x maxSize must be allowed by maxPixels: lower images.maxSize or raise "
        "images.maxPixels to at least maxSize * maxSize",
        cel="self.maxSize * self.maxSize <= self.maxPixels",
        holds=lambda images: images.max_size**2 <= images.max_pixels,
    ),
    Rule(
        on="Images",
        field=".allowedHosts",
        message="each allowed host must be a host name such as example.com, or *.example.com, in lower case and without "
        "scheme, port or path",
        cel=f"!has(self.allowedHosts) || self.allowedHosts.all(host, host.matches(r'{HOST_PATTERN}'))",
        holds=lambda images: all(re.fullmatch(HOST_PATTERN, host) for host in images.allowed_hosts),
    ),
    Rule(
        on="Images",
        field=".allowedCidrs",
        message="each allowed range must be a network such as 10.0.0.0/8 or fd00::/8, with no bits set after the prefix",
        cel="!has(self.allowedCidrs) || "
        "self.allowedCidrs.all(range, isCIDR(range) && cidr(range).masked() == cidr(range))",
        holds=lambda images: all(_is_network(text) for text in images.allowed_cidrs),
    ),
    Rule(
        on="Images",
        field=".allowRemote",
        message="allowedHosts and allowedCidrs have no effect while allowRemote is false: remove them or set it to true",
        cel="self.allowRemote || (size(self.?allowedHosts.orValue([])) == 0 && size(self.?allowedCidrs.orValue([])) == 0)",
        holds=lambda images: images.allow_remote or not (images.allowed_hosts or images.allowed_cidrs),
    ),
    # pod
    Rule(
        on="Pod",
        field=".env",
        message="a variable in pod.env has both value and valueFrom: keep one",
        cel="!has(self.env) || self.env.all(variable, !(has(variable.value) && has(variable.valueFrom)))",
        holds=lambda pod: not any("value" in variable and "valueFrom" in variable for variable in pod.env),
    ),
    _not_reserved("Pod", "labels"),
    _not_reserved("Pod", "annotations"),
    _not_reserved("Service", "annotations"),
    Rule(
        on="Pod",
        field=".tolerations",
        message="a toleration with operator Exists takes no value: remove the value, or set operator to Equal",
        cel="!has(self.tolerations) || self.tolerations.all(t, "
        "!(has(t.operator) && t.operator == 'Exists' && has(t.value) && t.value != ''))",
        holds=lambda pod: not any(t.get("operator") == "Exists" and t.get("value") for t in pod.tolerations),
    ),
    Rule(
        on="Pod",
        field=".tolerations",
        message="a toleration without a key tolerates every taint and needs operator Exists: set key or operator",
        cel="!has(self.tolerations) || self.tolerations.all(t, "
        "(has(t.key) && t.key != '') || (has(t.operator) && t.operator == 'Exists'))",
        holds=lambda pod: all(t.get("key") or t.get("operator") == "Exists" for t in pod.tolerations),
    ),
    Rule(
        on="Pod",
        field=".tolerations",
        message="tolerationSeconds needs effect NoExecute: set the effect or remove tolerationSeconds",
        cel="!has(self.tolerations) || self.tolerations.all(t, "
        "!has(t.tolerationSeconds) || (has(t.effect) && t.effect == 'NoExecute'))",
        holds=lambda pod: all("tolerationSeconds" not in t or t.get("effect") == "NoExecute" for t in pod.tolerations),
    ),
    Rule(
        on="Pod",
        field=".resources",
        message="a request in pod.resources exceeds its limit: lower the request or raise the limit",
        cel="!has(self.resources) || !has(self.resources.requests) || !has(self.resources.limits) || "
        "self.resources.requests.all(name, !(name in self.resources.limits) || "
        "!isQuantity(string(self.resources.requests[name])) || !isQuantity(string(self.resources.limits[name])) || "
        "quantity(string(self.resources.requests[name])).compareTo(quantity(string(self.resources.limits[name]))) <= 0)",
        holds=lambda pod: _within_limits(pod.resources),
    ),
    Rule(
        on="Pod",
        field=".sharedMemory",
        message="pod.sharedMemory must fit into pod.resources.limits.memory, because it counts as memory: lower it or "
        "raise the limit",
        cel="!has(self.sharedMemory) || !has(self.resources) || !has(self.resources.limits) || "
        "!('memory' in self.resources.limits) || !isQuantity(string(self.sharedMemory)) || "
        "!isQuantity(string(self.resources.limits['memory'])) || "
        "quantity(string(self.sharedMemory)).compareTo(quantity(string(self.resources.limits['memory']))) <= 0",
        holds=_shared_memory_fits,
    ),
    Rule(
        on="Spec",
        field=".pod.resources",
        message="pod.resources must not name the GPU resource: set gpu.count instead",
        cel="!has(self.pod.resources) || !(self.gpu.resourceName in self.pod.resources.?limits.orValue({}) || "
        "self.gpu.resourceName in self.pod.resources.?requests.orValue({}))",
        holds=lambda spec: (
            not any(spec.gpu.resource_name in spec.pod.resources.get(kind, {}) for kind in ("limits", "requests"))
        ),
    ),
    Rule(
        on="NetworkPolicy",
        field=".from",
        message="networkPolicy.from has no effect while networkPolicy.enabled is false: remove it or set enabled to true",
        cel="self.enabled || size(self.?from.orValue([])) == 0",
        holds=lambda policy: policy.enabled or not policy.from_,
    ),
    Rule(
        on="NetworkPolicy",
        field=".to",
        message="networkPolicy.to has no effect while networkPolicy.enabled is false: remove it or set enabled to true",
        cel="self.enabled || size(self.?to.orValue([])) == 0",
        holds=lambda policy: policy.enabled or not policy.to,
    ),
)

TRANSITIONS: tuple[Transition, ...] = (
    Transition(
        on="Model",
        field=".source",
        message="the kind of source (what stands before ://) cannot be changed in place: create a second resource with "
        "the new source, and delete this one when that is ready",
        cel="self.source.split('://')[0] == oldSelf.source.split('://')[0]",
        holds=lambda new, old: scheme_of(new.source) == scheme_of(old.source),
    ),
    Transition(
        on="ModelCache",
        field=".storageClassName",
        message="the storage class of a volume cannot be changed in place: create a second resource with the new class",
        cel="has(self.storageClassName) == has(oldSelf.storageClassName) && "
        "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        holds=lambda new, old: new.storage_class_name == old.storage_class_name,
    ),
    Transition(
        on="ModelCache",
        field=".size",
        message="a volume can grow but never shrink: set cache.size to at least its present value",
        cel="quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
        holds=lambda new, old: value_of(new.size) >= value_of(old.size),
    ),
)


def rules_of(model: str) -> Iterable[Rule]:
    """The rules that stand at a model."""
    return (rule for rule in RULES if rule.on == model)


def transitions_of(model: str) -> Iterable[Transition]:
    """The rules that stand at a change of a model."""
    return (rule for rule in TRANSITIONS if rule.on == model)


def check(model: Any) -> None:
    """Ask a parsed model all its rules.

    Raises:
        ValueError: with the messages of all rules that do not hold.
    """
    broken = [rule.message for rule in rules_of(type(model).__name__) if not rule.holds(model)]
    if broken:
        raise ValueError("; ".join(broken))


def check_transition(new: Any, old: Any) -> None:
    """Ask a change of a resource, from old to new, all rules about changes.

    Raises:
        ResourceError: with the messages of all rules that do not hold.
    """
    broken = list(_broken_transitions(new, old))
    if broken:
        raise ResourceError("; ".join(broken))


def _broken_transitions(new: Any, old: Any) -> Iterable[str]:
    yield from (rule.message for rule in transitions_of(type(new).__name__) if not rule.holds(new, old))
    for name in type(new).model_fields:
        after, before = getattr(new, name), getattr(old, name)
        # The API server compares what stood there before and stands there now, not what comes or goes.
        if hasattr(type(after), "model_fields") and type(after) is type(before):
            yield from _broken_transitions(after, before)
