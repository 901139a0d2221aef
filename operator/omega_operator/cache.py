"""What the watches have brought in, and what our own writes made: resources, their children and pods, by the resource's key.

Kept as JSON text: a fifth of the memory of dictionaries, and nobody can change what others read. An object never goes back
to an older version, whatever the order in which its news comes.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from omega_operator import labels, pod
from omega_operator.kinds import CHILDREN, POD, RESOURCE, Key, Kind, Manifest, Ref

WATCHED = (RESOURCE, *CHILDREN, POD)

GRAVES = 10_000
"""How many objects that are gone are remembered, so that late news of them is known to be late."""


class _Held(NamedTuple):
    version: int
    text: str
    keys: frozenset[Key]


class Cache:
    """Objects by kind and uid, and by the keys of the resources that they are about."""

    def __init__(self) -> None:
        """Empty."""
        self._objects: dict[Kind, dict[str, _Held]] = {kind: {} for kind in WATCHED}
        self._by_key: dict[Kind, dict[Key, set[str]]] = {kind: {} for kind in WATCHED}
        self._gone: OrderedDict[str, int] = OrderedDict()

    # filled by the watches, and with the answers to our writes

    def put(self, kind: Kind, body: Mapping[str, Any]) -> bool:
        """Remember an object, unless what is remembered of it is newer. Returns whether it is news.

        What is here already is none: an answer to a write of ours that the watch brings too. Older news counts: it may be
        of a change that nobody has looked at since.
        """
        uid, version = body["metadata"]["uid"], int(body["metadata"]["resourceVersion"])
        held = self._objects[kind].get(uid)
        if held is not None and version == held.version:
            return False
        if version <= self._gone.get(uid, 0) or (held is not None and version < held.version):
            return True
        self._drop(kind, uid)
        keys = frozenset(keys_of(kind, body))
        self._objects[kind][uid] = _Held(version, pack(kind, body), keys)
        for key in keys:
            self._by_key[kind].setdefault(key, set()).add(uid)
        return True

    def remove(self, kind: Kind, uid: str, version: int) -> frozenset[Key]:
        """Forget an object that is gone as of a version; returns the keys that it was about."""
        self._gone[uid] = max(version, self._gone.pop(uid, 0))
        if len(self._gone) > GRAVES:
            self._gone.popitem(last=False)
        return self._drop(kind, uid)

    def forget(self, kind: Kind) -> None:
        """Forget all objects of a kind that is no more: nobody may be left to tell of their end."""
        for uid in list(self._objects[kind]):
            self._drop(kind, uid)

    # read by the reconciler

    def keys(self) -> set[Key]:
        """All resources."""
        return set(self._by_key[RESOURCE])

    def resource(self, key: Key) -> Manifest | None:
        """One resource; of two, of which one is gone without our knowing yet, the newer."""
        return next(reversed(self._read(RESOURCE, key)), None)

    def children(self, key: Key) -> dict[Ref, Manifest]:
        """All children of one resource but its pods; of two of one name the newer."""
        return {Ref(kind, one["metadata"]["name"]): one for kind in CHILDREN for one in self._read(kind, key)}

    def pods(self, key: Key, component: str = labels.SERVER) -> tuple[Manifest, ...]:
        """The pods of one resource, oldest first."""
        mine = [one for one in self._read(POD, key) if one["metadata"]["labels"].get(labels.COMPONENT) == component]
        return tuple(sorted(mine, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"])))

    # compared by the audit

    def versions(self, kind: Kind) -> dict[str, int]:
        """By the uid of each object of a kind: its resource version."""
        return {uid: held.version for uid, held in self._objects[kind].items()}

    def has(self, kind: Kind, uid: str, version: int) -> bool:
        """Whether what is remembered of an object, be it its end, is as new as a version."""
        held = self._objects[kind].get(uid)
        return max(held.version if held is not None else 0, self._gone.get(uid, 0)) >= version

    def holds(self, kind: Kind, uid: str, until: int) -> bool:
        """Whether an object is here, and no newer than a version."""
        held = self._objects[kind].get(uid)
        return held is not None and held.version <= until

    # details

    def _drop(self, kind: Kind, uid: str) -> frozenset[Key]:
        held = self._objects[kind].pop(uid, None)
        if held is None:
            return frozenset()
        for key in held.keys:
            uids = self._by_key[kind][key]
            uids.discard(uid)
            if not uids:
                del self._by_key[kind][key]
        return held.keys

    def _read(self, kind: Kind, key: Key) -> list[Manifest]:
        """Oldest version first."""
        held = sorted(self._objects[kind][uid] for uid in self._by_key[kind].get(key, ()))
        return [json.loads(one.text) for one in held]


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
