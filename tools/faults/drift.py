"""Every field of a child that the operator owns, and what somebody else can do to it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from faults.world import World
from omega_operator.api import ApiError, Conflict
from omega_operator.kinds import Kind, Manifest
from omega_operator.labels import MANAGER

Path = tuple[str | dict[str, Any], ...]
"""To a field: names, and the keys of an entry of a list."""


@dataclass(frozen=True)
class Repair:
    """One field that was changed or removed."""

    what: str
    seconds: float | None
    """Until the child was again as before; None: it was not."""


async def vandalise(world: World, kind: Kind, name: str, patience: float) -> list[Repair]:
    """Change, and remove, each owned field of a child, one after the other; what the API server refuses is left out.

    Args:
        world: where.
        kind: of the child.
        name: of the child.
        patience: longest wait for a repair, in seconds.
    """
    child = await world.api.get(kind, world.namespace, name)
    if child is None:
        raise ValueError(f"there is no {kind.name} {name}")
    fields = next(
        one["fieldsV1"]
        for one in child["metadata"]["managedFields"]
        if (one["manager"], one["operation"]) == (MANAGER, "Apply")
    )
    repairs = []
    for path, value in owned(fields, child):
        for operation in disturbances(value):
            if await _disturb(world, kind, name, path, operation):
                took = await _repaired(world, kind, child, patience)
                repairs.append(Repair(f"{kind.name} {path} {operation}", took))
    return repairs


def owned(fields: Manifest, value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The scalars and the entries of lists among the owned fields of an object, with their paths.

    The keys of an entry are left out: another key is another entry, which is none of the operator's business.
    """
    for step, below in fields.items():
        kind, _, rest = step.partition(":")
        if kind == "f" and rest in value:
            yield from _below(below, value[rest], (*path, rest))
        elif kind == "k":
            keys = json.loads(rest)
            entry = value[_place(value, keys)]
            yield (*path, keys), entry
            inner = {field: deeper for field, deeper in below.items() if field.removeprefix("f:") not in keys}
            yield from owned(inner, entry, (*path, keys))


def disturbances(value: Any) -> list[Manifest]:
    """What can be done to a field: JSON Patch operations without their path."""
    if isinstance(value, dict):
        return [{"op": "remove"}]
    other: Any = f"{value}x"
    if isinstance(value, bool):
        other = not value
    elif isinstance(value, int):
        other = value + 1
    return [{"op": "replace", "value": other}, {"op": "remove"}]


def content(manifest: Manifest) -> Any:
    """What somebody declared in an object; lists in any order."""
    head = {part: manifest["metadata"].get(part) for part in ("labels", "ownerReferences")}
    notes = manifest["metadata"].get("annotations", {})
    head["annotations"] = {key: value for key, value in notes.items() if key != "deployment.kubernetes.io/revision"}
    body = {part: value for part, value in manifest.items() if part not in {"apiVersion", "kind", "metadata", "status"}}
    return _sorted({"metadata": head, **body})


async def _disturb(world: World, kind: Kind, name: str, path: Path, operation: Manifest) -> bool:
    """Change a field as somebody else; False if the API server refuses, or makes it what it was."""
    while True:
        before = await world.api.get(kind, world.namespace, name) or {}
        patch = [operation | {"path": pointer(path, before)}]
        try:
            after = await world.api.request(
                "PATCH",
                kind.path(world.namespace, name),
                query={"fieldManager": "somebody"},
                body=patch,
                content_type="application/json-patch+json",
            )
        except Conflict:
            continue
        except ApiError:
            return False
        return bool(after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"])


async def _repaired(world: World, kind: Kind, before: Manifest, patience: float) -> float | None:
    """Seconds until an object has the content that it had before; None if it has not in time."""
    began = time.monotonic()
    while True:
        found = await world.api.get(kind, world.namespace, before["metadata"]["name"])
        took = time.monotonic() - began
        if found is not None and content(found) == content(before):
            return took
        if took > patience:
            return None
        await asyncio.sleep(0.02)


def pointer(path: Path, manifest: Any) -> str:
    """The path as JSON Patch wants it, for an object as it is now."""
    text = ""
    for step in path:
        place = _place(manifest, step) if isinstance(step, dict) else step
        manifest = manifest[place]
        text += "/" + str(place).replace("~", "~0").replace("/", "~1")
    return text


def _below(fields: Manifest, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if fields and isinstance(value, dict | list):
        yield from owned(fields, value, path)
    elif not isinstance(value, dict | list):
        yield path, value


def _place(entries: list[Any], keys: dict[str, Any]) -> int:
    return next(at for at, one in enumerate(entries) if all(one.get(key) == want for key, want in keys.items()))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(one) for key, one in value.items()}
    return sorted((_sorted(one) for one in value), key=repr) if isinstance(value, list) else value
