"""kubectl omega why: why a resource is not as it should be, and what to do."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from omega_server.kubectl import advice, words
from omega_server.kubectl.cluster import Cluster, Object
from omega_server.kubectl.status import conditions, pod_state

USAGE = "NAME"
DESCRIPTION = "Why a resource is not ready, or does not run its newest configuration, and what to do."
MOST_EVENTS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line after `kubectl omega why`."""
    parser.add_argument("name", metavar="NAME", help="of a resource")


def run(cluster: Cluster, options: argparse.Namespace) -> None:
    """Print the explanation.

    Raises:
        ClientError: there is no such resource, or the cluster does not answer.
    """
    resource = cluster.resource(options.name, options.namespace)
    pods = [*cluster.pods(resource, "download"), *cluster.pods(resource)]
    unwell = [pod for pod in pods if pod_state(pod) not in {"Ready", "Completed"}]
    namespace = resource["metadata"]["namespace"]
    warnings = cluster.objects("events", "--field-selector=type=Warning", namespace=namespace) if unwell else []
    last = {pod["metadata"]["name"]: words_of(pod) or cluster.last_words(pod) for pod in unwell if _has_ended(pod)}
    print(explain(resource, unwell, events_of(unwell, warnings), last, words.now()))


def explain(
    resource: Object, pods: Sequence[Object], events: Sequence[Object], last: Mapping[str, str], now: datetime
) -> str:
    """The explanation.

    Args:
        resource: what is not as it should be.
        pods: of its pods, those that are not ready.
        events: of those pods, newest first.
        last: by a pod's name, what its server said before it ended.
        now: in UTC.
    """
    name = f"{resource['metadata']['name']} in {resource['metadata']['namespace']}"
    if not conditions(resource):
        return f"{name} has no status\n\n{_todo(advice.NO_STATUS)}"
    observed = (resource.get("status") or {}).get("observedGeneration", 0)
    if observed < resource["metadata"].get("generation", 0):
        return f"{name} was changed, and the operator has not seen it yet\n\n{_todo(advice.UNSEEN)}"
    found = cause(resource)
    if found is None:
        return f"{name} is ready, and all pods run its configuration: nothing stands in the way"
    since = words.age(found.get("lastTransitionTime"), now)
    head = f"{name}: {found['type']} is {found['status']} for {since}, reason {found['reason']}"
    known = advice.of(found["type"], found["reason"])
    blocks = [head, words.paragraph(found.get("message", ""))]
    if known is not None:
        blocks.append(f"What it means\n{words.paragraph(known['means'])}")
        said = advice.about(" ".join([found.get("message", ""), *last.values()]))
        blocks.append(_todo(said or known["do"] or "Nothing: it goes on by itself."))
    if pods:
        blocks.append("Pods\n" + "\n".join(_pod(pod, last.get(pod["metadata"]["name"], "")) for pod in pods))
    if events:
        rows = [["LAST", "TIMES", "POD", "REASON", "MESSAGE"], *(_event(one, now) for one in events[:MOST_EVENTS])]
        blocks.append(f"Events\n{words.table(rows, '  ')}")
    return "\n\n".join(blocks)


def cause(resource: Object) -> dict[str, Any] | None:
    """The condition that says the most about what is wrong; None if nothing is."""
    by_type = {one["type"]: one for one in conditions(resource)}
    if by_type.get("Stalled", {}).get("status") == "True":
        return by_type["Stalled"]
    for kind in ("Ready", "ConfigApplied"):
        found = by_type.get(kind)
        if found is not None and found["status"] != "True" and found["reason"] != "NoPods":
            return found
    return None


def events_of(pods: Sequence[Object], events: Sequence[Object]) -> list[Object]:
    """Of some events those of some pods, newest first."""
    uids = {pod["metadata"]["uid"] for pod in pods}
    mine = [one for one in events if one["involvedObject"].get("uid") in uids]
    return sorted(mine, key=_when, reverse=True)


def words_of(pod: Object) -> str:
    """The last line of what Kubernetes kept of a server that ended."""
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        for state in (one.get("state") or {}, one.get("lastState") or {}):
            lines = [line.strip() for line in (state.get("terminated") or {}).get("message", "").splitlines()]
            if told := [line for line in lines if line]:
                return told[-1]
    return ""


def _has_ended(pod: Object) -> bool:
    """Whether a container of it has run and ended."""
    states = (pod.get("status") or {}).get("containerStatuses") or ()
    return any("terminated" in {**(one.get("state") or {}), **(one.get("lastState") or {})} for one in states)


def _pod(pod: Object, last: str) -> str:
    line = f"  {pod['metadata']['name']} on {pod['spec'].get('nodeName', 'no node')}: {pod_state(pod)}"
    return line + (f"\n{words.paragraph(f'its last words: {last}', '    ')}" if last else "")


def _event(event: Object, now: datetime) -> list[str]:
    times = (event.get("series") or {}).get("count") or event.get("count") or 1
    name = event["involvedObject"].get("name", "-")
    return [words.age(_when(event), now), str(times), name, event.get("reason", "-"), event.get("message", "")]


def _when(event: Object) -> str:
    last = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return last or event["metadata"].get("creationTimestamp") or ""


def _todo(text: str) -> str:
    return f"What to do\n{words.paragraph(text)}"
