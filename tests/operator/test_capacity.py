"""What is free on nodes, and whether one more pod fits."""

from decimal import Decimal
from typing import Any

import pytest

from omega_operator.capacity import amount, fits, nodes_of, requests_of

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("8", 8),
        (8, 8),
        ("500m", "0.5"),
        ("16Gi", 16 * 2**30),
        ("1e3", 1000),
        ("2k", 2000),
        ("1Ei", 2**60),
        ("5u", "0.000005"),
    ],
)
def test_amount(text: str, number: int | str) -> None:
    """Every form in which the API server writes a quantity."""
    assert amount(text) == Decimal(number)


def test_amount_of_nonsense() -> None:
    """Something else is refused by name."""
    with pytest.raises(ValueError, match="lots"):
        amount("lots")


def container(**requests: str) -> Json:
    """A container that requests this; two underscores stand for a dot and a slash."""
    return {"resources": {"requests": requests}}


def test_requests() -> None:
    """Containers add up, init containers run before them, a limit alone is a request, and a sandbox has its overhead."""
    spec = {
        "containers": [container(cpu="1"), container(cpu="2", memory="1Gi"), {"resources": {"limits": {"gpu": "2"}}}],
        "initContainers": [container(cpu="500m", memory="4Gi")],
        "overhead": {"cpu": "250m"},
    }
    assert requests_of(spec) == {"cpu": Decimal("3.25"), "memory": 4 * 2**30, "gpu": 2}


def node(name: str = "n1", *, ready: str = "True", **spec: Any) -> Json:
    """A node with 8 GPUs and room for 3 pods."""
    status = {"conditions": [{"type": "Ready", "status": ready}], "allocatable": {"gpu": "8", "pods": "3"}}
    return {"metadata": {"name": name, "labels": {"zone": "a"}}, "spec": spec, "status": status}


def pod(gpus: int, phase: str = "Running", node_name: str | None = "n1") -> Json:
    """A pod on a node."""
    return {"spec": {"nodeName": node_name, "containers": [container(gpu=str(gpus))]}, "status": {"phase": phase}}


def wish(gpus: int, **spec: Any) -> Json:
    """The spec of a pod to place."""
    return {"containers": [container(gpu=str(gpus))], **spec}


@pytest.mark.parametrize(
    ("pods", "gpus", "fit"),
    [
        ([], 8, True),
        ([], 9, False),
        ([pod(5)], 3, True),
        ([pod(5)], 4, False),
        ([pod(5, phase="Succeeded")], 8, True),
        ([pod(5, phase="Failed")], 8, True),
        ([pod(5, node_name=None)], 8, True),
        ([pod(5, node_name="n2")], 8, True),
        ([pod(0), pod(0), pod(0)], 1, False),
    ],
)
def test_fits_beside_other_pods(pods: list[Json], gpus: int, fit: bool) -> None:
    """Only pods that still run on the node take from it, and they take a place each."""
    (only,) = nodes_of([node()], pods)
    assert fits(only, wish(gpus)) is fit


@pytest.mark.parametrize(
    ("taint", "tolerations", "fit"),
    [
        ({"key": "gpu", "effect": "NoSchedule"}, [], False),
        ({"key": "gpu", "effect": "PreferNoSchedule"}, [], True),
        ({"key": "gpu", "effect": "NoSchedule"}, [{"key": "gpu", "operator": "Exists"}], True),
        ({"key": "gpu", "effect": "NoExecute"}, [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}], False),
        ({"key": "gpu", "value": "a", "effect": "NoSchedule"}, [{"key": "gpu", "value": "a"}], True),
        ({"key": "gpu", "value": "a", "effect": "NoSchedule"}, [{"key": "gpu", "value": "b"}], False),
        ({"key": "gpu", "effect": "NoSchedule"}, [{"operator": "Exists"}], True),
    ],
)
def test_taints(taint: Json, tolerations: list[Json], fit: bool) -> None:
    """A pod goes only where it tolerates every taint that keeps pods away."""
    (only,) = nodes_of([node(taints=[taint])], [])
    assert fits(only, wish(1, tolerations=tolerations)) is fit


@pytest.mark.parametrize(("selector", "fit"), [({"zone": "a"}, True), ({"zone": "b"}, False), ({"other": "a"}, False)])
def test_node_selector(selector: Json, fit: bool) -> None:
    """A pod goes only where all labels are."""
    (only,) = nodes_of([node()], [])
    assert fits(only, wish(1, nodeSelector=selector)) is fit


def test_nodes_that_take_no_pods() -> None:
    """Cordoned nodes and those that are not ready have no room."""
    assert nodes_of([node(unschedulable=True), node(ready="False"), node(ready="Unknown")], []) == ()
