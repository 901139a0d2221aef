"""Which nodes a pod accepts, and which accept it, whatever is free there: the scheduler's filters, as far as they matter here. Pure.

Spreading is no filter for our pods: it is ScheduleAnyway. Preferences are none either. A selector of namespaces by their
labels is taken as one that selects nothing: the labels are not looked at.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omega_operator.capacity import REQUIRED, Node, Occupant

Term = Mapping[str, Any]
Located = tuple[Node, Occupant]
"""A pod and the node that it is on."""


def admits(node: Node, pod_spec: Term) -> bool:
    """Whether a node would take the pod if it were empty: node selector, node affinity and taints."""
    selector = pod_spec.get("nodeSelector") or {}
    return (
        all(node.labels.get(key) == value for key, value in selector.items())
        and _is_attracted(node, pod_spec)
        and _is_tolerated(node, pod_spec)
    )


def welcomes(node: Node, nodes: Sequence[Node], shy: Sequence[Located], pod: Occupant, pod_spec: Term) -> bool:
    """Whether the pod may share the node's part of the topology with the pods in it: affinity and anti-affinity, both ways.

    Args:
        node: where it would run.
        nodes: all that take pods.
        shy: the pods on them that avoid others, which are few.
        pod: the pod.
        pod_spec: its spec.
    """
    return (
        not any(
            _share(term, node, there) and _selects(term, one.namespace, pod)
            for there, one in shy
            for term in one.avoids
        )
        and not any(_meets(term, node, nodes, pod) for term in pod.avoids)
        and all(_is_drawn(term, node, nodes, pod) for term in _wanted(pod_spec))
    )


def _is_attracted(node: Node, pod_spec: Mapping[str, Any]) -> bool:
    rule = ((pod_spec.get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED)
    if rule is None:
        return True
    name = {"metadata.name": node.name}
    return any(
        all(_holds(one, node.labels) for one in term.get("matchExpressions") or ())
        and all(_holds(one, name) for one in term.get("matchFields") or ())
        for term in rule.get("nodeSelectorTerms") or ()
        if term.get("matchExpressions") or term.get("matchFields")
    )


def _is_tolerated(node: Node, pod_spec: Mapping[str, Any]) -> bool:
    tolerations = pod_spec.get("tolerations") or ()
    return all(
        any(_tolerates(toleration, taint) for toleration in tolerations)
        for taint in node.taints
        if taint.get("effect") in {"NoSchedule", "NoExecute"}
    )


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key", "") in {"", taint["key"]}
    return toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")


def _wanted(pod_spec: Mapping[str, Any]) -> Iterable[Term]:
    return ((pod_spec.get("affinity") or {}).get("podAffinity") or {}).get(REQUIRED) or ()


def _is_drawn(term: Term, node: Node, nodes: Sequence[Node], pod: Occupant) -> bool:
    """Whether the pods that it wants to be near are here. One that wants to be near its like may be the first of them."""
    if term["topologyKey"] not in node.labels:
        return False
    if _meets(term, node, nodes, pod):
        return True
    is_first = not any(_selects(term, pod.namespace, one, pod.labels) for there in nodes for one in there.pods)
    return is_first and _selects(term, pod.namespace, pod, pod.labels)


def _meets(term: Term, node: Node, nodes: Sequence[Node], pod: Occupant) -> bool:
    """Whether a pod that the pod's term selects is in the node's part of the topology."""
    near = (there for there in nodes if _share(term, node, there))
    return any(_selects(term, pod.namespace, one, pod.labels) for there in near for one in there.pods)


def _share(term: Term, node: Node, other: Node) -> bool:
    key = term["topologyKey"]
    return key in node.labels and node.labels[key] == other.labels.get(key)


def _selects(term: Term, namespace: str, pod: Occupant, own: Mapping[str, str] | None = None) -> bool:
    """Whether a term of a pod in a namespace selects another pod.

    Args:
        term: of an affinity.
        namespace: of the pod whose term it is.
        pod: the other.
        own: labels of the pod whose term it is, for matchLabelKeys. None: the API server has put them into the selector.
    """
    selector, everywhere = term.get("labelSelector"), term.get("namespaceSelector") == {}
    here = term.get("namespaces") or ([namespace] if term.get("namespaceSelector") is None else [])
    if selector is None or not (everywhere or pod.namespace in here):
        return False
    same = [] if own is None else [own.get(key) == pod.labels.get(key) for key in term.get("matchLabelKeys") or ()]
    return (
        all(same)
        and all(pod.labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
        and all(_holds(one, pod.labels) for one in selector.get("matchExpressions") or ())
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case "Gt" | "Lt" as operator:
            return _compares(labels.get(key), values, more=operator == "Gt")
    return False


def _compares(label: str | None, values: list[str], *, more: bool) -> bool:
    try:
        have, bound = int(label or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return have > bound if more else have < bound
