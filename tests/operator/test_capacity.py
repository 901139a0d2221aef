"""What is free on nodes and under quotas, and whether one more pod fits."""

from decimal import Decimal
from typing import Any

import pytest

from omega_operator.capacity import amount, nodes_of, requests_of
from omega_operator.quota import quotas_of
from omega_operator.room import Candidate, Room

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


def test_requests_of_sidecars() -> None:
    """A sidecar runs beside the containers, and beside the init containers after it."""
    sidecar = container(cpu="1") | {"restartPolicy": "Always"}
    spec = {"containers": [container(cpu="1")], "initContainers": [sidecar, container(cpu="4")]}
    assert requests_of(spec) == {"cpu": 5}


def test_requests_of_a_whole_pod() -> None:
    """What a pod requests as a whole counts in place of what its containers do."""
    spec = {"containers": [container(cpu="1", gpu="2")], "resources": {"requests": {"cpu": "3"}}}
    assert requests_of(spec) == {"cpu": 3, "gpu": 2}


def node(name: str = "n1", *, ready: str = "True", **spec: Any) -> Json:
    """A node with 8 GPUs and room for 3 pods."""
    status = {"conditions": [{"type": "Ready", "status": ready}], "allocatable": {"gpu": "8", "pods": "3"}}
    return {"metadata": {"name": name, "labels": {"zone": "a"}}, "spec": spec, "status": status}


def pod(gpus: int, phase: str = "Running", node_name: str | None = "n1", **head: Any) -> Json:
    """A pod on a node."""
    return {
        "metadata": {"name": "p", "namespace": "ns"} | head,
        "spec": {"nodeName": node_name, "containers": [container(gpu=str(gpus))]},
        "status": {"phase": phase},
    }


def wish(gpus: int, **spec: Any) -> Json:
    """The template of a pod to place."""
    return {"metadata": {"labels": {"app": "vl"}}, "spec": {"containers": [container(gpu=str(gpus))], **spec}}


def takes(nodes: list[Json], pods: list[Json], template: Json) -> bool:
    """Whether a node takes the pod of this template."""
    return Room(nodes_of(nodes, pods)).takes(Candidate.of("ns", template))


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
        ([pod(5, deletionTimestamp="2030-01-01T00:00:00Z")], 8, False),
        ([pod(0), pod(0), pod(0)], 1, False),
    ],
)
def test_fits_beside_other_pods(pods: list[Json], gpus: int, fit: bool) -> None:
    """Pods take from the node until they have ended or are gone, being deleted or not, and they take a place each."""
    assert takes([node()], pods, wish(gpus)) is fit


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
    assert takes([node(taints=[taint])], [], wish(1, tolerations=tolerations)) is fit


@pytest.mark.parametrize(("selector", "fit"), [({"zone": "a"}, True), ({"zone": "b"}, False), ({"other": "a"}, False)])
def test_node_selector(selector: Json, fit: bool) -> None:
    """A pod goes only where all labels are."""
    assert takes([node()], [], wish(1, nodeSelector=selector)) is fit


def test_nodes_that_take_no_pods() -> None:
    """Cordoned nodes and those that are not ready have no room."""
    assert nodes_of([node(unschedulable=True), node(ready="False"), node(ready="Unknown")], []) == ()


def needs(**expression: Any) -> Json:
    """A node affinity of one expression."""
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


@pytest.mark.parametrize(
    ("affinity", "fit"),
    [
        (needs(key="zone", operator="In", values=["b", "a"]), True),
        (needs(key="zone", operator="In", values=["b"]), False),
        (needs(key="zone", operator="NotIn", values=["b"]), True),
        (needs(key="zone", operator="NotIn", values=["a"]), False),
        (needs(key="zone", operator="Exists"), True),
        (needs(key="other", operator="Exists"), False),
        (needs(key="other", operator="DoesNotExist"), True),
        (needs(key="size", operator="Gt", values=["7"]), True),
        (needs(key="size", operator="Lt", values=["8"]), False),
        (needs(key="zone", operator="Gt", values=["1"]), False),
        ({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}}, False),
        ({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}}, True),
    ],
)
def test_node_affinity(affinity: Json, fit: bool) -> None:
    """A pod goes only where its required node affinity holds; what it prefers is no reason."""
    labels = {"zone": "a", "size": "8"}
    assert takes([node() | {"metadata": {"name": "n1", "labels": labels}}], [], wish(1, affinity=affinity)) is fit


def test_node_affinity_by_name() -> None:
    """A node may be asked for by its name."""
    field = {"key": "metadata.name", "operator": "In", "values": ["n2"]}
    rule = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    template = wish(1, affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": rule}})
    assert not takes([node("n1")], [], template)
    assert takes([node("n1"), node("n2")], [], template)


def near(kind: str, topology: str = "zone", **term: Any) -> Json:
    """An affinity to pods, or an anti-affinity."""
    selects = {"topologyKey": topology, "labelSelector": {"matchLabels": {"app": "vl"}}}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [selects | term]}}


@pytest.mark.parametrize(
    ("affinity", "other", "fit"),
    [
        (near("podAntiAffinity"), {"labels": {"app": "vl"}}, False),
        (near("podAntiAffinity"), {"labels": {"app": "x"}}, True),
        (near("podAntiAffinity"), {"labels": {"app": "vl"}, "namespace": "other"}, True),
        (near("podAntiAffinity", namespaceSelector={}), {"labels": {"app": "vl"}, "namespace": "other"}, False),
        (near("podAntiAffinity", namespaces=["other"]), {"labels": {"app": "vl"}, "namespace": "other"}, False),
        (near("podAntiAffinity", "nowhere"), {"labels": {"app": "vl"}}, True),
        (near("podAntiAffinity", matchLabelKeys=["hash"]), {"labels": {"app": "vl", "hash": "1"}}, True),
        (near("podAffinity", labelSelector={"matchLabels": {"app": "x"}}), {"labels": {"app": "x"}}, True),
        (near("podAffinity", labelSelector={"matchLabels": {"app": "x"}}), {"labels": {"app": "y"}}, False),
        (near("podAffinity"), {"labels": {"app": "y"}}, True),
    ],
)
def test_affinity_to_pods(affinity: Json, other: Json, fit: bool) -> None:
    """A pod goes where its like is or is not, as it says, in its own namespace; the first of its kind goes anywhere."""
    # The other pod is on another node of the same zone.
    nodes = [node("n1"), node("n2", taints=[{"key": "full", "effect": "NoSchedule"}])]
    assert takes(nodes, [pod(1, node_name="n2", **other)], wish(1, affinity=affinity)) is fit


def test_anti_affinity_of_others() -> None:
    """A pod that wants to be alone keeps others away."""
    alone = pod(1, labels={"app": "x"})
    alone["spec"]["affinity"] = near("podAntiAffinity")
    assert not takes([node()], [alone], wish(1))
    alone["metadata"]["namespace"] = "other"
    assert takes([node()], [alone], wish(1))


def quota(hard: Json, used: Json, **spec: Any) -> Json:
    """A ResourceQuota as its controller shows it."""
    return {"metadata": {"name": "few"}, "spec": {"hard": hard} | spec, "status": {"hard": hard, "used": used}}


@pytest.mark.parametrize(
    ("one", "allowed"),
    [
        (quota({"requests.gpu": "4"}, {"requests.gpu": "2"}), True),
        (quota({"requests.gpu": "4"}, {"requests.gpu": "3"}), False),
        (quota({"pods": "1"}, {"pods": "1"}), False),
        (quota({"count/pods": "1"}, {}), True),
        (quota({"limits.gpu": "1"}, {}), True),
        (quota({"services": "0"}, {}), True),
        (quota({"requests.gpu": "1"}, {}, scopes=["BestEffort"]), True),
        (quota({"requests.gpu": "1"}, {}, scopes=["NotTerminating"]), False),
        (quota({"requests.gpu": "1"}, {}, scopes=["PriorityClass"]), False),
        *(
            (
                quota(
                    {"requests.gpu": "1"},
                    {},
                    scopeSelector={"matchExpressions": [{"scopeName": "PriorityClass", **one}]},
                ),
                ok,
            )
            for one, ok in [
                ({"operator": "In", "values": ["high"]}, False),
                ({"operator": "In", "values": ["low"]}, True),
                ({"operator": "NotIn", "values": ["high"]}, True),
                ({"operator": "Exists"}, False),
                ({"operator": "DoesNotExist"}, True),
            ]
        ),
    ],
)
def test_quota(one: Json, allowed: bool) -> None:
    """A quota that counts the pod must have room for all that it limits."""
    room = Room(nodes_of([node()], []), quotas_of([one], "high"))
    assert room.takes(Candidate.of("ns", wish(2))) is allowed


def test_room_without_pods() -> None:
    """What would be free if pods of the namespace were gone, on nodes and under quotas; others of their name stay."""
    pods = [pod(5, name="a"), pod(2, name="b"), pod(1, name="a", namespace="other")]
    full = quota({"requests.gpu": "7"}, {"requests.gpu": "7"})
    room = Room(nodes_of([node()], pods), quotas_of([full], ""))
    for gone, gpus in (([], 0), ([pods[1]], 2), ([pods[0]], 5), (pods[:2], 7)):
        left = room.without([(one["metadata"]["name"], one["spec"]) for one in gone], "ns")
        assert left.takes(Candidate.of("ns", wish(gpus))) is (gpus > 0)
        assert not left.takes(Candidate.of("ns", wish(gpus + 1)))


def test_how_many_fit() -> None:
    """As many as nodes, anti-affinity and quotas let in, counted no further than asked."""
    room = Room(nodes_of([node("n1"), node("n2")], [pod(4)]))
    assert room.most(Candidate.of("ns", wish(4)), 9) == 3
    assert room.most(Candidate.of("ns", wish(4)), 2) == 2
    apart = wish(2, affinity=near("podAntiAffinity", "kubernetes.io/hostname"))
    named = [
        node(name) | {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}} for name in ("n1", "n2")
    ]
    assert Room(nodes_of(named, [])).most(Candidate.of("ns", apart), 9) == 2
    few = quotas_of([quota({"requests.gpu": "5"}, {})], "")
    assert Room(nodes_of([node()], []), few).most(Candidate.of("ns", wish(2)), 9) == 2
