"""What the ResourceQuotas of a namespace leave for pods. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from omega_operator.capacity import Amounts, amount, amounts, requests_of
from omega_operator.kinds import Manifest

_PLAIN = {"cpu", "memory", "ephemeral-storage"}
"""Resources that a quota may also name without the word requests before them."""


@dataclass(frozen=True)
class Quota:
    """One ResourceQuota that counts our pods."""

    name: str
    free: Amounts
    """By the name in the quota, for example requests.nvidia.com/gpu."""

    def has(self, wanted: Amounts) -> bool:
        """Whether so much is free. What the quota does not name is not limited by it."""
        return all(left >= wanted.get(name, Decimal(0)) for name, left in self.free.items())

    def less(self, taken: Amounts) -> "Quota":
        """The quota after so much more was taken; less than nothing is given back."""
        return Quota(self.name, {name: left - taken.get(name, Decimal(0)) for name, left in self.free.items()})


def quotas_of(manifests: Iterable[Manifest], priority_class: str) -> tuple[Quota, ...]:
    """The quotas that count pods of this priority class that request something and may run for ever."""
    return tuple(_quota(one) for one in manifests if _counts(one.get("spec") or {}, priority_class))


def demand(pod_spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """What a pod takes, by the names that quotas have for it."""
    requests, limits = requests_of(pod_spec), requests_of(_with_limits_alone(pod_spec))
    return {
        "pods": Decimal(1),
        "count/pods": Decimal(1),
        **{name: value for name, value in requests.items() if name in _PLAIN},
        **{f"requests.{name}": value for name, value in requests.items()},
        **{f"limits.{name}": value for name, value in limits.items()},
    }


def _with_limits_alone(pod_spec: Mapping[str, Any]) -> dict[str, Any]:
    kinds = ("containers", "initContainers")
    return {
        kind: [{**one, "resources": {"limits": (one.get("resources") or {}).get("limits")}} for one in pod_spec[kind]]
        for kind in kinds
        if pod_spec.get(kind)
    }


def _quota(manifest: Manifest) -> Quota:
    status = manifest.get("status") or {}
    hard, used = amounts(status.get("hard")), status.get("used") or {}
    return Quota(
        manifest["metadata"]["name"], {name: value - amount(used.get(name, 0)) for name, value in hard.items()}
    )


def _counts(spec: Mapping[str, Any], priority_class: str) -> bool:
    chosen = (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    rules = [*({"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()), *chosen]
    return all(_is_in_scope(one, priority_class) for one in rules)


def _is_in_scope(rule: Mapping[str, Any], priority_class: str) -> bool:
    if rule["scopeName"] != "PriorityClass":
        return rule["scopeName"] in {"NotBestEffort", "NotTerminating"}
    match rule["operator"]:
        case "In":
            return priority_class in (rule.get("values") or ())
        case "NotIn":
            return priority_class not in (rule.get("values") or ())
        case "Exists":
            return bool(priority_class)
    return not priority_class
