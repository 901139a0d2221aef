"""The cluster as a user sees it, past the proxy: namespaces, resources, and what the operator made of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omega_operator.api import Api, ApiError, Conflict, NotFound
from omega_operator.events import CONTROLLER
from omega_operator.kinds import CHILDREN, DEPLOYMENT, RESOURCE, TRANSITION, Kind, Manifest
from omega_operator.labels import NAME, OURS

NAMESPACE = Kind("v1", "Namespace", "namespaces")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
IDLE = {"replicas": 0, "model": {"source": "path:///model"}, "gpu": {"device": "cpu"}}
"""Spec of a resource that needs no pod."""


_DIGEST = re.compile(r"\b[0-9a-f]{12}\b")
"""As the operator writes them; they depend on names."""


class Broken(Exception):  # noqa: N818 - says what became of the operator's word
    """The operator did not keep its word."""


@contextlib.asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[Api]:
    """The API as the administrator."""
    api = await Api.connect(kubeconfig=str(kubeconfig))
    try:
        yield api
    finally:
        await api.close()


@contextlib.asynccontextmanager
async def namespace(api: Api) -> AsyncIterator[World]:
    """A new namespace, which is deleted at the end if it is still there."""
    name = f"faults-{uuid.uuid4().hex[:8]}"
    await api.request("POST", NAMESPACE.path(), body={"metadata": {"name": name}})
    try:
        yield World(api, name)
    finally:
        with contextlib.suppress(NotFound, Conflict):
            await api.request("DELETE", NAMESPACE.path(None, name))


@dataclass(frozen=True)
class World:
    """One namespace."""

    api: Api
    namespace: str

    async def create(self, name: str, **spec: Any) -> Manifest:
        """Create a resource."""
        head = {"apiVersion": RESOURCE.api_version, "kind": RESOURCE.name}
        body = head | {"metadata": {"name": name, "namespace": self.namespace}, "spec": IDLE | spec}
        return await self.api.request("POST", RESOURCE.path(self.namespace), body=body)

    async def patch(self, kind: Kind, name: str, body: Any) -> Manifest:
        """Merge a patch into an object, as somebody else."""
        path, form = kind.path(self.namespace, name), "application/merge-patch+json"
        return await self.api.request("PATCH", path, query={"fieldManager": "somebody"}, body=body, content_type=form)

    async def delete(self, kind: Kind, name: str) -> None:
        """Delete an object, in the background."""
        with contextlib.suppress(NotFound):
            await self.api.request("DELETE", kind.path(self.namespace, name), body={"propagationPolicy": "Background"})

    async def children(self, name: str | None = None) -> list[Manifest]:
        """All children of one resource, or of all, with their kinds."""
        found: list[Manifest] = []
        selector = OURS if name is None else f"{OURS},{NAME}={name}"
        for kind in CHILDREN:
            with contextlib.suppress(NotFound):  # a kind that the cluster does not know
                some = await self.api.list(kind, self.namespace, labelSelector=selector)
                found += [one | {"kind": kind.name} for one in some]
        return found

    async def state(self, name: str) -> Manifest:
        """What became of one resource, in words that do not depend on when and where: equal is as good as the same."""
        resource = await self.api.get(RESOURCE, self.namespace, name)
        if resource is None:
            return {}
        sets = await self.api.list(REPLICA_SET, self.namespace, labelSelector=f"{NAME}={name}")
        return neutral(resource, await self.children(name)) | {"replica sets": len(sets)}

    async def events(self, name: str) -> Counter[tuple[str, str]]:
        """Reasons and notes of the operator's Events about one resource."""
        selector = f"regarding.name={name},reportingController={CONTROLLER}"
        found = await self.api.list(TRANSITION, self.namespace, fieldSelector=selector)
        return Counter((one["reason"], one.get("note", "").replace(name, "NAME")) for one in found)

    async def is_settled(self, name: str) -> bool:
        """Whether the newest generation of a resource is ready."""
        found = await self.api.get(RESOURCE, self.namespace, name)
        return found is not None and is_settled(found)


def is_settled(resource: Manifest) -> bool:
    """Whether the newest generation of a resource is ready."""
    conditions = resource.get("status", {}).get("conditions", ())
    ready: Manifest = next((one for one in conditions if one["type"] == "Ready"), {})
    found = ready.get("status"), ready.get("observedGeneration")
    return bool(found == ("True", resource["metadata"]["generation"]))


async def until(holds: Callable[[], Awaitable[Any]], seconds: float, what: str, pause: float = 0.1) -> float:
    """Wait until something holds; returns the seconds that it took.

    Raises:
        Broken: it does not after so many seconds.
    """
    began = time.monotonic()
    while True:
        try:
            held = await holds()
        except ApiError:
            held = False
        took = time.monotonic() - began
        if held:
            return took
        if took > seconds:
            raise Broken(f"not so after {seconds:.0f} s: {what}")
        await asyncio.sleep(pause)


def neutral(resource: Manifest, children: list[Manifest]) -> Manifest:
    """A resource's status and its children, without names, identities and times."""
    head, status = resource["metadata"], resource.get("status", {})
    state = {
        "status": {part: value for part, value in status.items() if part != "conditions"},
        "conditions": [
            [one["type"], one["status"], one["reason"], one["message"]] for one in status.get("conditions", ())
        ],
        "children": sorted((_content(one) for one in children), key=json.dumps),
    }
    text = json.dumps(state, sort_keys=True)
    for word, stand_in in ((head["namespace"], "NAMESPACE"), (head["name"], "NAME"), (head["uid"], "UID")):
        text = text.replace(word, stand_in)
    answer: Manifest = json.loads(_DIGEST.sub("DIGEST", text))
    return answer


def _content(child: Manifest) -> Manifest:
    """A child without what the API server and others say of it."""
    head = child["metadata"]
    notes = {key: text for key, text in (head.get("annotations") or {}).items() if not key.startswith("deployment.")}
    body = {part: value for part, value in child.items() if part not in {"apiVersion", "metadata", "status"}}
    if child["kind"] == "Service":
        given = {"clusterIP", "clusterIPs"}
        body["spec"] = {part: value for part, value in body["spec"].items() if part not in given}
    generation = {"generation": head["generation"]} if child["kind"] == DEPLOYMENT.name else {}
    kept = {part: head.get(part) for part in ("name", "labels", "ownerReferences")}
    return {"metadata": kept | {"annotations": notes} | generation, **body}


def difference(found: Any, wanted: Any, path: str = "") -> str:
    """The first place at which two values differ, in words."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                return difference(found.get(key), wanted.get(key), f"{path}.{key}")
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for at, (one, other) in enumerate(zip(found, wanted, strict=True)):
            if one != other:
                return difference(one, other, f"{path}[{at}]")
    return f"at {path}: {json.dumps(found)[:200]}, not {json.dumps(wanted)[:200]}"
