"""What the operator's unit tests share: the option --update-golden, and small objects as the API server shows them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from omega_operator.capacity import nodes_of
from omega_operator.kinds import OPTIONAL, ref_of
from omega_operator.observed import LONG_AGO, Observed, PodConfig
from omega_operator.progress import Progress
from omega_operator.quota import quotas_of
from omega_operator.room import Room
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment

Json = dict[str, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Writing what is expected instead of comparing it."""
    parser.addoption("--update-golden", action="store_true", help="write tests/operator/cases/*/expected.yaml anew")
    parser.addoption("--update-released", action="store_true", help="write tests/operator/released.yaml anew")


@pytest.fixture
def settings() -> Settings:
    """Settings that do not depend on this machine."""
    return Settings(
        server_image="omega-server:1",
        pod_namespace="omega-system",
        pod_name="operator-0",
        metrics_namespaces=("monitoring",),
        version="1.2.3",
    )


@pytest.fixture
def resource() -> Callable[..., OmegaVLMDeployment]:
    """Makes a resource from the spec's fields; without any it is the smallest there is."""

    def make(**spec: Any) -> OmegaVLMDeployment:
        return parse({"spec": {"model": {"source": "path:///model"}} | spec})

    return make


@pytest.fixture
def load_resource() -> Callable[[Path], OmegaVLMDeployment]:
    """Reads a resource that a person could have written."""
    return lambda path: parse(yaml.safe_load(path.read_text()))


@pytest.fixture
def observe() -> Callable[[Json], Observed]:
    """Makes what was observed from a document: children, pods, downloadPods, warnings, configs, download, kinds, at,
    and for the room nodes, podsOnNodes, quotas.
    """
    return _observe


def parse(document: Json) -> OmegaVLMDeployment:
    """A resource as the API server completes it."""
    head = {"name": "vl", "namespace": "vision", "uid": "uid-1", "generation": 3} | document.get("metadata", {})
    complete = {"apiVersion": "omegavlm.io/v1alpha1", "kind": "OmegaVLMDeployment", **document, "metadata": head}
    return OmegaVLMDeployment.model_validate(complete)


def _observe(document: Json) -> Observed:
    nodes = document.get("nodes")
    return Observed(
        children={ref_of(child): child for child in document.get("children", [])},
        pods=tuple(document.get("pods", [])),
        download_pods=tuple(document.get("downloadPods", [])),
        warnings={name: tuple(messages) for name, messages in document.get("warnings", {}).items()},
        room=None if nodes is None else _room(nodes, document),
        at=document.get("at", LONG_AGO),
        configs={name: PodConfig(**said) for name, said in document.get("configs", {}).items()},
        download=Progress(**document["download"]) if "download" in document else None,
        kinds=frozenset(kind for kind in OPTIONAL if kind.name in document.get("kinds", [])),
    )


def _room(nodes: list[Json], document: Json) -> Room:
    pods = [{"metadata": {"name": f"other-{index}"}} | one for index, one in enumerate(document.get("podsOnNodes", []))]
    return Room(nodes_of(nodes, pods), quotas_of(document.get("quotas", []), ""))
