"""The chart with helm, the resource with kubectl, and the wait until it is Ready."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from stages import images
from stages.cluster import Cluster
from stages.console import DemoError
from stages.program import ROOT

RELEASE = "omega-vlm"
OPERATOR_NAMESPACE = "omega-system"
NAMESPACE = "omega-demo"
NAME = "omega-demo"
DEFINITION = "omegavlmdeployments.omegavlm.io"
RESOURCE = ROOT / "demo/omega-demo.yaml"
CHART = ROOT / "charts/omega-vlm"
READY_SECONDS = 600
STALLED_SECONDS = 60
"""How long a resource may say that it is stalled before we believe it: what stalls it may still be on its way."""


def install(cluster: Cluster, registry: str) -> str:
    """Install or upgrade the chart; returns what was installed, in words.

    Raises:
        DemoError: helm failed, or the operator does not come up.
    """
    advice = f"kubectl -n {OPERATOR_NAMESPACE} describe pods tells why the operator does not run."
    values = {
        "image": {"repository": f"{registry}/{images.OPERATOR.name}", "tag": images.OPERATOR.tag},
        "serverImage": {"repository": f"{registry}/{images.SERVER.name}", "tag": images.SERVER.tag},
        "crds": _definition_values(cluster),
    }
    command = ["helm", "upgrade", "--install", RELEASE, str(CHART), "--namespace", OPERATOR_NAMESPACE]
    command += ["--create-namespace", "--values", "-", "--wait", "--timeout", "3m"]
    _forget_interrupted(cluster)
    try:
        cluster.run(*command, advice=advice, stdin=json.dumps(values))
    except DemoError as error:
        error.evidence = f"{error.evidence.strip()}\n{_last_words(cluster, OPERATOR_NAMESPACE)}".strip()
        raise
    return f"{RELEASE} in namespace {OPERATOR_NAMESPACE}"


def _forget_interrupted(cluster: Cluster) -> None:
    """Helm refuses to go on where it was killed in the middle of an operation: drop the record of that operation."""
    if cluster.get("namespace", OPERATOR_NAMESPACE):
        records = f"owner=helm,name={RELEASE},status in (pending-install, pending-upgrade, pending-rollback)"
        cluster.run("kubectl", "-n", OPERATOR_NAMESPACE, "delete", "secrets", f"--selector={records}")


def _definition_values(cluster: Cluster) -> dict[str, bool]:
    """A definition that somebody else brought is left alone; ours goes with the demo."""
    definition = cluster.get("customresourcedefinition", DEFINITION)
    annotations = definition.get("metadata", {}).get("annotations", {})
    ours = not definition or annotations.get("meta.helm.sh/release-namespace") == OPERATOR_NAMESPACE
    return {"enabled": True, "keep": False} if ours else {"enabled": False}


def apply(cluster: Cluster, registry: str) -> str:
    """Apply demo/omega-demo.yaml; returns what kubectl says.

    Raises:
        DemoError: the API server refuses it.
    """
    if not cluster.get("namespace", NAMESPACE):
        cluster.run("kubectl", "create", "namespace", NAMESPACE)
    resource = RESOURCE.read_text().replace("oci://localhost/", f"oci://{registry}/")
    advice = f"change {RESOURCE.relative_to(ROOT)} as the message says."
    return cluster.run("kubectl", "-n", NAMESPACE, "apply", "-f", "-", advice=advice, stdin=resource).strip()


def wait_ready(cluster: Cluster, show: Callable[[str], None]) -> dict[str, Any]:
    """Wait until the resource is Ready for what was applied last; returns it.

    Raises:
        DemoError: it is not Ready in time, or says that it is stalled.
    """
    deadline = time.monotonic() + READY_SECONDS
    stalled_since: float | None = None
    while True:
        resource = cluster.get("-n", NAMESPACE, "omegavlmdeployment", NAME)
        ready, stalled = _condition(resource, "Ready"), _condition(resource, "Stalled")
        if ready.get("status") == "True":
            return resource
        told = stalled if stalled.get("status") == "True" else ready
        show(told.get("message") or "waiting for the operator to see it")
        now = time.monotonic()
        stalled_since = (stalled_since or now) if stalled.get("status") == "True" else None
        if now > deadline or (stalled_since and now > stalled_since + STALLED_SECONDS):
            raise DemoError(
                f"{NAME} is not Ready: {told.get('reason', 'NoStatus')}: {told.get('message', 'the status is empty.')}",
                f"kubectl -n {NAMESPACE} describe ovlm {NAME} tells more.",
                _last_words(cluster, NAMESPACE) or _last_words(cluster, OPERATOR_NAMESPACE),
            )
        time.sleep(0.5)


def remove(cluster: Cluster) -> None:
    """Take away the resource, the release and the two namespaces.

    The pods go first: a namespace that is deleted looks again only after half of the time that its pods may take.

    Raises:
        DemoError: the cluster refuses.
    """
    if cluster.get("customresourcedefinition", DEFINITION) and cluster.get("namespace", NAMESPACE):
        here = ("kubectl", "--namespace", NAMESPACE)
        cluster.run(*here, "delete", "omegavlmdeployment", NAME, "--ignore-not-found")
        cluster.run(*here, "wait", "--for=delete", "pods", "--all", "--timeout=120s")
    for namespace in (NAMESPACE, OPERATOR_NAMESPACE):
        if namespace == OPERATOR_NAMESPACE and cluster.get("namespace", namespace):
            cluster.run("helm", "uninstall", RELEASE, "--namespace", namespace, "--ignore-not-found", "--wait")
        cluster.run("kubectl", "delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s")


def _condition(resource: dict[str, Any], name: str) -> dict[str, Any]:
    """The condition ``name`` if it speaks of the resource as it is now, else nothing."""
    generation = resource.get("metadata", {}).get("generation")
    for condition in resource.get("status", {}).get("conditions", ()):
        if condition["type"] == name and condition.get("observedGeneration") == generation:
            return condition
    return {}


def _last_words(cluster: Cluster, namespace: str) -> str:
    """The last lines that the pods of ``namespace`` logged, and what happened to them."""
    words = []
    for pod in cluster.get("-n", namespace, "pods").get("items", ()):
        name = pod["metadata"]["name"]
        for status in pod.get("status", {}).get("containerStatuses", ()):
            state = {**status.get("lastState", {}), **status.get("state", {})}
            words += [f"{name}: {kind}: {json.dumps(told)}" for kind, told in state.items() if kind != "running"]
            if status.get("state", {}).get("waiting", {}).get("reason") not in {
                "ContainerCreating",
                "ImagePullBackOff",
            }:
                words.append(cluster.run("kubectl", "-n", namespace, "logs", name, "--tail=10", "--all-containers"))
    return "\n".join(words)
