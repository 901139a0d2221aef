"""What kopf's watches have brought in: resources, their children and their pods, by the resource's key.

Kept as JSON text: a fifth of the memory of dictionaries, and nobody can change what others read.
"""

import json
from collections.abc import Mapping
from typing import Any

from omega_operator import labels, pod
from omega_operator.kinds import CHILDREN, POD, RESOURCE, Key, Kind, Manifest, Ref

WATCHED = (RESOURCE, *CHILDREN, POD)


class Cache:
    """A reader of the indexes that kopf fills."""

    def __init__(self) -> None:
        """Empty until kopf has started."""
        self._indices: Mapping[str, Any] = {}

    def bind(self, indices: Mapping[str, Any]) -> None:
        """Args: kopf's indexes by their identifiers, see `identifier`."""
        self._indices = indices

    def keys(self) -> set[Key]:
        """All resources."""
        return set(self._indices.get(identifier(RESOURCE), ()))

    def resource(self, key: Key) -> Manifest | None:
        """One resource."""
        return next(iter(self._read(RESOURCE, key)), None)

    def children(self, key: Key) -> dict[Ref, Manifest]:
        """All children of one resource but its pods."""
        return {Ref(kind, one["metadata"]["name"]): one for kind in CHILDREN for one in self._read(kind, key)}

    def pods(self, key: Key, component: str = labels.SERVER) -> tuple[Manifest, ...]:
        """The pods of one resource, oldest first."""
        mine = [one for one in self._read(POD, key) if one["metadata"]["labels"].get(labels.COMPONENT) == component]
        return tuple(sorted(mine, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"])))

    def versions(self, kind: Kind) -> dict[str, str]:
        """By the uid of each object of a kind that is cached: its resource version."""
        index = self._indices.get(identifier(kind), {})
        heads = (json.loads(text)["metadata"] for key in index for text in index[key])
        return {head["uid"]: head["resourceVersion"] for head in heads}

    def _read(self, kind: Kind, key: Key) -> list[Manifest]:
        index = self._indices.get(identifier(kind), {})
        return [json.loads(text) for text in index[key]] if key in index else []


def identifier(kind: Kind) -> str:
    """Names the index of a kind."""
    return f"cached_{kind.plural}"


def keys_of(kind: Kind, body: Mapping[str, Any]) -> set[Key]:
    """The resources that an object is about: by its owner and by its label, one of which somebody may have changed."""
    head = body["metadata"]
    if kind is RESOURCE:
        return {Key(head["namespace"], head["name"])}
    names = {owner["name"] for owner in head.get("ownerReferences") or () if owner["kind"] == RESOURCE.name}
    labelled = (head.get("labels") or {}).get(labels.NAME)
    return {Key(head["namespace"], name) for name in names | ({labelled} if labelled else set())}


def pack(kind: Kind, body: Mapping[str, Any]) -> str:
    """What is kept of an object."""
    return json.dumps(pod.essence(dict(body)) if kind is POD else dict(body), separators=(",", ":"))
