"""kubectl omega status: how resources are, in a table; everything about one."""

import argparse
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from omega_server.kubectl import words
from omega_server.kubectl.cluster import Cluster, Object

USAGE = "[NAME]"
DESCRIPTION = "How OmegaVLMDeployments are; with a name, everything about that one."
DEFAULT_IMAGE = "omegavlm.io/default-image"
CONFIG = "omegavlm.io/config"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line after `kubectl omega status`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="of a resource (default: all of the namespace)")


def run(cluster: Cluster, options: argparse.Namespace) -> None:
    """Print it.

    Raises:
        ClientError: there is no such resource, or the cluster does not answer.
    """
    if options.name is None:
        found = cluster.resources(options.namespace, everywhere=options.all_namespaces)
        print(overview(found, words.now(), with_namespace=options.all_namespaces))
        return
    resource = cluster.resource(options.name, options.namespace)
    deployment = cluster.find("deployments", options.name, namespace=resource["metadata"]["namespace"])
    print(detail(resource, deployment, cluster.pods(resource), words.now()))


def overview(resources: Sequence[Object], now: datetime, *, with_namespace: bool) -> str:
    """A line for each resource."""
    if not resources:
        return "There are no OmegaVLMDeployments" + (" in this cluster." if with_namespace else " in this namespace.")
    rows = [["NAMESPACE", "NAME", "READY", "GPUS", "CONFIG", "MODEL", "AGE", "STATUS"]]
    for one in resources:
        head, status = one["metadata"], one.get("status") or {}
        rows.append(
            [
                head["namespace"],
                head["name"],
                status.get("ready", "-"),
                gpus(status),
                _applied(status),
                model_name(one),
                words.age(head.get("creationTimestamp"), now),
                summary(one),
            ]
        )
    return words.table(rows if with_namespace else [row[1:] for row in rows])


def detail(resource: Object, deployment: Object | None, pods: Sequence[Object], now: datetime) -> str:
    """Everything about one resource."""
    head, spec, status = resource["metadata"], resource["spec"], resource.get("status") or {}
    model = spec["model"]
    length = f", {model['maxLength']} tokens" if "maxLength" in model else ""
    facts = [
        ["Status", summary(resource)],
        ["Model", f"{model_name(resource)} from {model['source']}{length}"],
        ["Endpoint", status.get("endpoint", "-")],
        ["Image", _image(resource, deployment)],
        ["GPUs", gpus(status)],
        ["Config", f"{(status.get('config') or {}).get('desired', '-')}, applied by {_applied(status)} pods"],
    ]
    blocks = [f"{head['name']} in {head['namespace']}", words.table(facts, "  ")]
    if listed := conditions(resource):
        rows = [["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"]]
        for one in listed:
            since = words.age(one.get("lastTransitionTime"), now)
            rows.append([one["type"], one["status"], one["reason"], since, one.get("message", "")])
        blocks.append(words.table(rows, "  "))
    if pods:
        rows = [["POD", "NODE", "STATE", "RESTARTS", "CONFIG", "AGE"]]
        rows += [_pod(one, now) for one in pods]
        blocks.append(words.table(rows, "  "))
    return "\n\n".join(blocks)


def conditions(resource: Object) -> list[dict[str, Any]]:
    """Of a status."""
    return (resource.get("status") or {}).get("conditions") or []


def summary(resource: Object) -> str:
    """The status in half a sentence; what was said of an older generation is none."""
    status = resource.get("status") or {}
    if not status.get("conditions"):
        return "not seen by the operator"
    if status.get("observedGeneration", 0) < resource["metadata"].get("generation", 0):
        return "changed, and not seen by the operator yet"
    return status.get("summary") or "-"


def model_name(resource: Object) -> str:
    """The model id that clients use."""
    return resource["spec"]["model"].get("name") or resource["metadata"]["name"]


def gpus(status: Object) -> str:
    """How many GPUs serve, of how many."""
    counted = status.get("gpus") or {}
    if not counted.get("perReplica"):
        return "none" if counted else "-"
    return f"{counted.get('ready', 0)}/{counted.get('desired', 0)}"


def pod_state(pod: Object) -> str:
    """Ready, or why not, in a word."""
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return "Ending"
    for one in status.get("containerStatuses") or ():
        state = one.get("state") or {}
        stopped = state.get("waiting") or state.get("terminated")
        if stopped and stopped.get("reason"):
            return stopped["reason"]
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ())
    if ready:
        return "Ready"
    return "Starting" if status.get("phase") == "Running" else status.get("phase", "Unknown")


def _pod(pod: Object, now: datetime) -> list[str]:
    head, status = pod["metadata"], pod.get("status") or {}
    restarts = sum(one.get("restartCount", 0) for one in status.get("containerStatuses") or ())
    return [
        head["name"],
        pod["spec"].get("nodeName", "-"),
        pod_state(pod),
        str(restarts),
        (head.get("annotations") or {}).get(CONFIG, "-"),
        words.age(head.get("creationTimestamp"), now),
    ]


def _applied(status: Object) -> str:
    if "config" not in status:
        return "-"
    return f"{status['config'].get('appliedReplicas', 0)}/{status.get('replicas', 0)}"


def _image(resource: Object, deployment: Object | None) -> str:
    if deployment is None:
        return resource["spec"].get("image") or "-"
    containers = deployment["spec"]["template"]["spec"]["containers"]
    image = next((one["image"] for one in containers if one["name"] == "server"), "-")
    chosen = DEFAULT_IMAGE in (deployment["metadata"].get("annotations") or {})
    return image + (" (chosen by the operator)" if chosen else "")
