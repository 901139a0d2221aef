"""Whether an object still is as we want it, judged by the fields that we own. Pure.

Server-side apply records the fields of each manager. An object needs another apply when one of our fields has another
value, or when we still own a field that we no longer want. Fields of others are none of our business.
"""

import json
from collections.abc import Mapping
from typing import Any

from omega_operator.kinds import Manifest
from omega_operator.labels import MANAGER

_KEYS = ("name", "mountPath", "containerPort", "port", "uid", "type", "topologyKey")
"""Fields by which the API server tells the entries of a list apart, most telling first."""

_MISSING = object()


def project(actual: Any, wanted: Any) -> Any:
    """The part of an object that a manifest speaks of, in the manifest's shape."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        found = {key: project(actual.get(key, _MISSING), value) for key, value in wanted.items()}
        return {key: value for key, value in found.items() if value is not _MISSING}
    if isinstance(wanted, list) and isinstance(actual, list):
        return _project_list(actual, wanted)
    return actual


def contains(actual: Manifest, wanted: Manifest) -> bool:
    """Whether an object has every field of a manifest with its value."""
    return bool(project(actual, wanted) == wanted)


def owns_more(actual: Manifest, wanted: Manifest) -> bool:
    """Whether we own a field that the manifest no longer speaks of."""
    return any(_unwanted(entry.get("fieldsV1", {}), wanted) for entry in _ours(actual))


def is_ours(actual: Manifest, uid: str) -> bool:
    """Whether an object is a child of the resource with this uid, or was made by the operator for one before it."""
    if is_owned(actual, uid):
        return True
    owners = actual["metadata"].get("ownerReferences") or ()
    return bool(_ours(actual)) and not any(owner.get("controller") and owner["uid"] != uid for owner in owners)


def is_owned(actual: Manifest, uid: str) -> bool:
    """Whether an object belongs to the resource with this uid."""
    return any(owner["uid"] == uid for owner in actual["metadata"].get("ownerReferences") or ())


def owns_replicas(deployment: Manifest) -> bool:
    """Whether the number of replicas is ours, and not an autoscaler's."""
    return any("f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {}) for entry in _ours(deployment))


def owns_startup(deployment: Manifest) -> bool:
    """Whether the time that the server has to start is ours, and nobody has changed it."""
    path = (
        *("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"server"}'),
        *("f:startupProbe", "f:failureThreshold"),
    )
    return any(_has(entry.get("fieldsV1", {}), path) for entry in _ours(deployment))


def _has(fields: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    for step in path:
        if step not in fields:
            return False
        fields = fields[step]
    return True


def _ours(actual: Manifest) -> list[Mapping[str, Any]]:
    entries = actual["metadata"].get("managedFields") or ()
    return [
        one
        for one in entries
        if one.get("manager") == MANAGER and one.get("operation") == "Apply" and not one.get("subresource")
    ]


def _project_list(actual: list[Any], wanted: list[Any]) -> list[Any]:
    key = next((key for key in _KEYS if _tells_apart(key, wanted)), None)
    if key is None:
        if len(actual) != len(wanted):
            return actual
        return [project(have, want) for have, want in zip(actual, wanted, strict=True)]
    by_key = {one[key]: one for one in actual if isinstance(one, dict) and key in one}
    return [project(by_key[want[key]], want) for want in wanted if want[key] in by_key]


def _tells_apart(key: str, wanted: list[Any]) -> bool:
    values = [one[key] for one in wanted if isinstance(one, dict) and key in one]
    return bool(wanted) and len(values) == len(wanted) == len(set(map(str, values)))


def _unwanted(fields: Mapping[str, Any], wanted: Any) -> bool:
    """Walk the API server's record of owned fields beside the manifest; True at the first that has no counterpart."""
    for path, below in fields.items():
        kind, _, rest = path.partition(":")
        if kind == "f":
            if not isinstance(wanted, dict) or rest not in wanted or _unwanted(below, wanted[rest]):
                return True
        elif kind == "k":
            entry = _entry(wanted, json.loads(rest))
            if entry is None or _unwanted(below, entry):
                return True
        elif kind == "v" and (not isinstance(wanted, list) or json.loads(rest) not in wanted):
            return True
    return False


def _entry(wanted: Any, keys: Mapping[str, Any]) -> Any:
    if not isinstance(wanted, list):
        return None
    return next((one for one in wanted if all(one.get(key, value) == value for key, value in keys.items())), None)
