"""The demo's release and resource, brought up by the demo's own stages and taken down with the last test of a module."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI, OpenAIError

ROOT = Path(__file__).resolve().parents[3]
sys.path[0:0] = [str(ROOT / "demo"), str(ROOT / "tools")]

from cluster import go_tools  # noqa: E402
from cluster.places import PLACES  # noqa: E402
from stages import images, questions, release  # noqa: E402
from stages.cluster import Cluster  # noqa: E402

STREAMS = 2
"""Clients of a load."""


@dataclass(frozen=True)
class Demo:
    """What `make demo` leaves behind."""

    cluster: Cluster
    address: str
    client: OpenAI
    """The official client. It tries once, so that a test sees each failure."""

    @property
    def resource(self) -> dict[str, Any]:
        """The resource as it is now."""
        return self.cluster.get("-n", release.NAMESPACE, "omegavlmdeployment", release.NAME)

    def pods(self) -> list[dict[str, Any]]:
        """The server's pods."""
        found: list[dict[str, Any]] = self.cluster.get("-n", release.NAMESPACE, "pods")["items"]
        return found

    def patch(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Lay ``spec`` over the resource's spec, as a merge patch does; returns the resource as it is then."""
        target = ("-n", release.NAMESPACE, "patch", "omegavlmdeployment", release.NAME)
        patch = f"--patch={json.dumps({'spec': spec})}"
        changed: dict[str, Any] = json.loads(
            self.cluster.run("kubectl", *target, "--type=merge", patch, "--output=json")
        )
        return changed


class Load:
    """Clients that ask one question after another, streaming, until told to stop."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self.answered = 0
        self.failures: list[str] = []
        self._stopped = threading.Event()

    def __enter__(self) -> Load:
        self._pool = ThreadPoolExecutor(STREAMS)
        for number in range(STREAMS):
            self._pool.submit(self._ask, number)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()

    def _ask(self, number: int) -> None:
        asked = questions.read()
        while not self._stopped.is_set():
            messages: Any = [{"role": "user", "content": asked[number % len(asked)].content}]
            number += 1
            try:
                stream = self.demo.client.chat.completions.create(model=release.NAME, messages=messages, stream=True)
                reasons = [chunk.choices[0].finish_reason for chunk in stream if chunk.choices]
            except OpenAIError as error:
                self.failures.append(repr(error))
            else:
                self.answered += 1
                if reasons[-1:] not in (["stop"], ["length"]):
                    self.failures.append(f"ended with {reasons[-1:]}")


def _client(address: str, key: str) -> OpenAI:
    return OpenAI(base_url=f"{address}/v1", api_key=key, timeout=60, max_retries=0)


@pytest.fixture(scope="module")
def demo(cluster: Any) -> Iterator[Demo]:
    """The demo, Ready."""
    own = Path(cluster.kubeconfig).resolve() == PLACES.kubeconfig.resolve()
    here = Cluster(cluster.kubeconfig, go_tools.ensure(["kubectl", "helm"]), own)
    registry = images.registry_of(here)
    for image in images.ALL:
        images.provide(here, image, registry, show=lambda line: None)
    try:
        release.install(here, registry)
        release.apply(here, registry)
        release.wait_ready(here, show=lambda line: None)
        with questions.address_of_service(here) as address, _client(address, "none") as client:
            yield Demo(here, address, client)
    finally:
        release.remove(here)


@pytest.fixture
def client_of() -> Callable[[str, str], OpenAI]:
    """``client_of(address, key)``: an official client that tries once; close it."""
    return _client


@pytest.fixture
def ask(demo: Demo) -> Callable[[questions.Question], str]:
    """``ask(question) -> answer``, not streamed."""

    def run(question: questions.Question) -> str:
        messages: Any = [{"role": "user", "content": question.content}]
        answer = demo.client.chat.completions.create(model=release.NAME, messages=messages)
        return answer.choices[0].message.content or ""

    return run


@pytest.fixture
def load(demo: Demo) -> Load:
    """Load on the demo, while it is entered."""
    return Load(demo)
