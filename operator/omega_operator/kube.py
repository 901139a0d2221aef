"""What the operator does in the cluster: observe, apply, prune, write status. All writes pass through here, fenced."""

# ruff: noqa: N818 - the names say what happened
import asyncio
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from omega_operator import capacity, labels, ownership
from omega_operator.api import APPLY, MERGE, AlreadyExists, Api, ApiError, Conflict, NoAnswer, NotFound, Refused
from omega_operator.capacity import Node
from omega_operator.election import MARGIN
from omega_operator.kinds import (
    EVENT,
    NODE,
    POD,
    QUOTA,
    RESOURCE,
    TRANSITION,
    Key,
    Kind,
    Manifest,
    Ref,
    ref_of,
)
from omega_operator.quota import quotas_of
from omega_operator.room import Room

FRESH_SECONDS = 5.0
"""How long a look at all nodes and pods serves every resource."""

LASTING = 3
"""How often an event must have come before it counts; the kubelet's third try to mount is 1.5 s after the first."""


_log = logging.getLogger(__name__)

_VERBS = {
    "apply": ("PATCH", APPLY, {"fieldManager": labels.MANAGER, "force": "true"}),
    "patch": ("PATCH", MERGE, {"fieldManager": labels.MANAGER}),
    "create": ("POST", "application/json", {}),
    "delete": ("DELETE", "application/json", {}),
}
"""By verb: method, content type and query."""


class NameTaken(Exception):
    """An object with a child's name exists and is somebody else's."""


@dataclass
class _Written:
    """What the server made of our last write."""

    digest: str
    """Of our manifest."""

    seen: str
    """Of the fields of our manifest in the server's words: 1000m comes back as 1."""


@dataclass
class _Looked:
    at: float = float("-inf")
    nodes: tuple[Node, ...] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Kube:
    """The cluster."""

    def __init__(
        self,
        api: Api,
        may_write: Callable[[], bool],
        namespaces: tuple[str, ...],
        clock: Callable[[], float],
        *,
        wrote: Callable[[str, str, str], None],
        remember: Callable[[Kind, Manifest], object],
    ) -> None:
        """The cluster, of which nothing has been looked at.

        Args:
            api: the API server.
            may_write: whether we lead now.
            namespaces: those that we serve; none: all.
            clock: monotonic, in seconds.
            wrote: hears the kind, the verb and the outcome of each write.
            remember: gets what each write made, before the watches bring it.
        """
        self._api, self._may_write, self._namespaces, self._clock = api, may_write, namespaces, clock
        self._wrote, self._remember = wrote, remember
        self._progress: Counter[Key] = Counter()
        self._written: dict[Key, dict[Ref, _Written]] = {}
        self._told: dict[Key, set[str]] = {}
        self._looked = _Looked()

    # observe

    async def room(self, key: Key, priority_class: str, pods: tuple[Manifest, ...]) -> Room | None:
        """What is free for pods of this priority class; None where we may not look.

        The nodes are as they were a few seconds ago at most, and not before the resource's pods were where they are
        now: what was free then says nothing. The namespace's quotas are as of now.
        """
        namespace, selector = key.namespace, labels.selector(key.name)
        async with self._looked.lock:
            nodes, age = self._looked.nodes, self._clock() - self._looked.at
            if age > FRESH_SECONDS or not (nodes is None or capacity.shows(nodes, namespace, selector, pods)):
                nodes = self._looked.nodes = await self._look()
                self._looked.at = self._clock()
        return None if nodes is None else Room(nodes, quotas_of(await self._quotas(namespace), priority_class))

    async def warnings(self, namespace: str, pod: Manifest) -> tuple[str, ...]:
        """Messages of a pod's Warning events that keep coming, newest first.

        What came once or twice is no cause yet: a kubelet that has not heard of a new ConfigMap cannot mount it, says
        so, and can half a second later.
        """
        selector = f"involvedObject.uid={pod['metadata']['uid']},type=Warning"
        events = await self._api.list(EVENT, namespace, fieldSelector=selector)
        lasting = [one for one in events if _times(one) >= LASTING]
        newest = sorted(lasting, key=lambda one: one.get("lastTimestamp") or one.get("eventTime") or "", reverse=True)
        return tuple(one.get("message", "") for one in newest)

    async def is_there(self, key: Key, uid: str) -> bool:
        """Whether a resource exists now, at the API server, and is not being deleted."""
        found = await self._api.get(RESOURCE, key.namespace, key.name)
        return found is not None and found["metadata"]["uid"] == uid and "deletionTimestamp" not in found["metadata"]

    # apply

    async def apply(self, key: Key, manifest: Manifest, uid: str, observed: Manifest | None) -> Manifest:
        """Make a child as its manifest says, unless it is so already; returns the child.

        Raises:
            NameTaken: the child is not in the cache, but an object of its name is there and is not ours.
            ApiError: the server refused.
        """
        ref, digest = ref_of(manifest), _digest(manifest)
        written = self._written.setdefault(key, {})
        if observed is not None and _is_current(observed, manifest, written.get(ref), digest):
            return observed
        if observed is None:
            await self._check_name(ref, key.namespace, uid)
        answer = await self._write("apply", ref.kind, key.namespace, ref.name, manifest)
        self._progress[key] += 1
        self._remember(ref.kind, answer)
        written[ref] = _Written(digest, _digest(ownership.project(answer, manifest)))
        return answer

    async def prune(self, namespace: str, ref: Ref, child: Manifest) -> None:
        """Delete a child that is no longer wanted."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": child["metadata"]["uid"]}}
        try:
            await self._write("delete", ref.kind, namespace, ref.name, body)
        except NotFound:
            return

    async def write_status(self, key: Key, uid: str, status: dict[str, Any]) -> Manifest:
        """Apply a resource's status; returns the resource, whose other parts may be newer than the one that was observed."""
        manifest = {
            "apiVersion": RESOURCE.api_version,
            "kind": RESOURCE.name,
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
            "status": status,
        }
        answer = await self._write("apply", RESOURCE, key.namespace, f"{key.name}/status", manifest)
        self._told.pop(key, None)
        self._progress[key] += 1
        self._remember(RESOURCE, answer)
        return answer

    async def annotate_pod(self, pod: Manifest, annotations: Mapping[str, str]) -> None:
        """Set annotations of a pod, if it still exists."""
        head = pod["metadata"]
        body = {"metadata": {"uid": head["uid"], "annotations": dict(annotations)}}
        try:
            self._remember(POD, await self._write("patch", POD, head["namespace"], head["name"], body))
        except NotFound:
            return

    async def tell(self, key: Key, event: Manifest) -> bool:
        """Record a Kubernetes Event about a resource; whether that is news. Where none may be recorded, the log says so.

        What was told is remembered until the status is written, which comes after it: a status that the server does not
        take at once is not held up by what went well before.
        """
        told, name = self._told.setdefault(key, set()), event["metadata"]["name"]
        if name in told:
            return False
        is_news = True
        try:
            await self._write("create", TRANSITION, key.namespace, "", event)
        except AlreadyExists:
            is_news = False
        except Refused as error:
            _log.warning("%s: an Event was refused: %s", key.namespace, error)
        told.add(name)
        self._progress[key] += 1
        return is_news

    def forget(self, key: Key) -> None:
        """Drop what is remembered about a resource that is gone."""
        for memory in (self._written, self._progress, self._told):
            memory.pop(key, None)

    def progress(self, key: Key) -> int:
        """How many writes for a resource have gone well so far."""
        return self._progress[key]

    # details

    async def _check_name(self, ref: Ref, namespace: str, uid: str) -> None:
        found = await self._api.get(ref.kind, namespace, ref.name)
        if found is not None and not ownership.is_ours(found, uid):
            raise NameTaken(
                f"{ref} exists already and belongs to somebody else: delete it, or give the resource another name"
            )

    async def _write(self, verb: str, kind: Kind, namespace: str, name: str, body: Manifest) -> Manifest:
        """The only place from which anything is written.

        Raises:
            Fenced: we do not lead; nothing was sent.
            ApiError: the server refused, or did not answer.
        """
        method, content_type, query = _VERBS[verb]
        path, fence = kind.path(namespace, name or None), self._may_write
        try:
            answer = await self._api.request(
                method, path, query=query, body=body, content_type=content_type, timeout=MARGIN, fence=fence
            )
        except ApiError as error:
            self._wrote(kind.name, verb, _outcome(error))
            raise
        self._wrote(kind.name, verb, "ok")
        return answer

    async def _look(self) -> tuple[Node, ...] | None:
        try:
            nodes = await self._api.list(NODE)
            pods = [pod for namespace in self._namespaces or (None,) for pod in await self._occupants(namespace)]
        except Refused:
            return None
        return capacity.nodes_of(nodes, pods)

    async def _quotas(self, namespace: str) -> list[Manifest]:
        """Where we may not look it is as if there were none: a quota that refuses a pod says so itself."""
        try:
            return await self._api.list(QUOTA, namespace)
        except Refused:
            return []

    async def _occupants(self, namespace: str | None) -> list[Manifest]:
        return await self._api.list(
            POD, namespace, fieldSelector="spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
        )


def _outcome(error: ApiError) -> str:
    """One word for what became of a write."""
    if error.status == 429:
        return "throttled"
    words = {NoAnswer: "no_answer", Conflict: "conflict", NotFound: "gone", Refused: "refused"}
    return next((word for kind, word in words.items() if isinstance(error, kind)), "failed")


def _times(event: Manifest) -> int:
    """How often an event has come; its first time has no series."""
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _is_current(observed: Manifest, manifest: Manifest, written: _Written | None, digest: str) -> bool:
    """Whether a child has all that its manifest says and nothing of ours beyond, in our words or in the server's."""
    if ownership.owns_more(observed, manifest):
        return False
    if ownership.contains(observed, manifest):
        return True
    return (
        written is not None
        and written.digest == digest
        and _digest(ownership.project(observed, manifest)) == written.seen
    )
