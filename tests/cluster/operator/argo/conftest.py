"""Argo CD of the release that docs/gitops.md names, on the cluster: it delivers the commits of a test into its namespace."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from argo import engine as argo_cd
from argo.application import Application, watched
from argo.repository import Repository
from omega_operator.kinds import RESOURCE, Kind, Manifest

ROOT = Path(__file__).resolve().parents[4]
APPLICATION = Kind("argoproj.io/v1alpha1", "Application", "applications")
REFRESH = "argocd.argoproj.io/refresh"

WAYS: dict[str, tuple[list[str], dict[str, str]]] = {
    "client-side": ([], {}),
    "server-side": (["ServerSideApply=true"], {"argocd.argoproj.io/compare-options": "ServerSideDiff=true"}),
    "replace": (["Replace=true"], {}),
}
"""How Argo CD compares and writes: options of a sync and annotations of the Application. The first is what it does by itself."""


@pytest.fixture(scope="module")
def engine(
    cluster: Any, kubeconfig: Path, kubectl: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Argo CD, until the tests of a file end: the namespace that its Applications are in."""
    namespace = f"test-{uuid.uuid4().hex[:8]}-argocd"
    with argo_cd.running(kubeconfig, kubectl, namespace, tmp_path_factory.mktemp("argo-cd")):
        yield namespace


@dataclass
class Delivery:
    """A repository whose folder Argo CD delivers into the test's namespace, by the Application that the docs show."""

    world: Any
    repository: Repository
    application: Application
    path: str
    """Of the Application in the API."""
    revision: str = ""
    """The newest commit."""

    async def commit(self, **files: Manifest | None) -> None:
        """Commit files, and tell Argo CD as a webhook would."""
        self.revision = self.repository.commit(**files)
        await self.refresh("normal")

    async def refresh(self, how: str) -> None:
        """Have Argo CD compare: normal, or hard, which is without its caches."""
        body = {"metadata": {"annotations": {REFRESH: how}}}
        await self.world.api.request("PATCH", self.path, body=body, content_type="application/merge-patch+json")

    async def until(self, sync: str, health: str, seconds: float = 240) -> None:
        """Wait until Argo CD says this of the newest commit."""
        await self.application.until_says(sync, health, self.revision, seconds)

    async def compare(self, times: int = 3) -> None:
        """Have Argo CD compare without its caches, and wait until it has."""
        for _ in range(times):
            before = self.application.newest["metadata"]["resourceVersion"]
            await self.refresh("hard")
            # It takes the annotation away in the same write that says what it has found.
            await self.application.until(lambda: self._has_compared(before), "Argo CD has compared")  # noqa: B023

    async def stays(self) -> None:
        """It still says the same, and has said nothing else, after comparisons without its caches."""
        before = len(self.application.moments)
        await self.compare()
        assert self.application.moments[before:] == []

    def resources(self) -> dict[tuple[str, str], Manifest]:
        """What Argo CD says of each object that it takes for one of Git's, by kind and name."""
        found = self.application.newest.get("status", {}).get("resources", ())
        return {(one["kind"], one["name"]): one for one in found}

    def _has_compared(self, before: str) -> bool:
        head = self.application.newest["metadata"]
        return head["resourceVersion"] != before and REFRESH not in head.get("annotations", {})


Deliver = Callable[..., Awaitable[Delivery]]
"""``await deliver(way, **files)``: the first commit, and an Application for it."""


@pytest.fixture
async def deliver(world: Any, engine: str, cluster: Any, tmp_path: Path) -> AsyncIterator[Deliver]:
    """Begins a delivery, in one of `WAYS`; what Argo CD has said of it is printed at the end."""
    kubectl = (cluster.kubectl_path, f"--kubeconfig={cluster.kubeconfig}")
    async with contextlib.AsyncExitStack() as stack:

        async def begin(way: str, **files: Manifest) -> Delivery:
            options, annotations = WAYS[way]
            body = yaml.safe_load((ROOT / "docs/gitops/application.yaml").read_text())
            name = f"models-{uuid.uuid4().hex[:8]}"
            repository = Repository(tmp_path / name)
            body["metadata"] = {"name": name, "namespace": engine, "annotations": annotations}
            body["spec"]["source"]["repoURL"] = repository.url
            body["spec"]["destination"]["namespace"] = world.namespace
            body["spec"]["syncPolicy"]["syncOptions"] += options
            application = await stack.enter_async_context(watched(kubectl, engine, name))
            stack.callback(lambda: print(f"\n{way}\n{application}"))  # noqa: T201 - for pytest -s
            path = APPLICATION.path(engine, name)
            begun = Delivery(world, repository, application, path, repository.commit(**files))
            await world.api.request("POST", APPLICATION.path(engine), body=body)
            stack.push_async_callback(world.api.request, "DELETE", path)
            return begun

        yield begin


@pytest.fixture
def resource(stand_in: str) -> Callable[..., Manifest]:
    """``resource(name, **fields)``: one whose pods serve soon, as somebody would write it into Git."""

    def write(name: str = "vl", **fields: Any) -> Manifest:
        spec = {
            "model": {"source": "path:///model"},
            "gpu": {"device": "cpu"},
            "image": stand_in,
            "images": {"maxPerRequest": 4, "maxBytes": "5Mi"},
            "rollout": {"drainSeconds": 1},
            "pod": {"resources": {"requests": {"cpu": "10m", "memory": "32Mi"}}},
        }
        head = {"apiVersion": RESOURCE.api_version, "kind": RESOURCE.name, "metadata": {"name": name}}
        return head | {"spec": spec | fields}

    return write
