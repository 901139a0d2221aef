"""What the operator may do."""

from collections.abc import Callable
from typing import Any

import pytest

from omega_operator.kinds import CHILDREN

Render = Callable[..., list[dict[str, Any]]]


def rules(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rules of all roles."""
    return [rule for manifest in manifests if manifest["kind"] in {"Role", "ClusterRole"} for rule in manifest["rules"]]


@pytest.mark.parametrize("namespaces", [[], ["vision", "audio"]])
def test_nothing_is_granted_wholesale(render: Render, namespaces: list[str]) -> None:
    """No wildcard, no Secret, no right to change roles, nodes or the resource itself."""
    for rule in rules(render(watchNamespaces=namespaces)):
        words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert "*" not in words
        assert not words & {"secrets", "roles", "clusterroles", "rolebindings", "clusterrolebindings", "pods/exec"}
        assert not words & {"escalate", "bind", "impersonate", "deletecollection"}
        if words & {"nodes", "namespaces", "customresourcedefinitions", "omegavlmdeployments"}:
            assert set(rule["verbs"]) <= {"get", "list", "watch"}


def test_watched_namespaces_narrow_the_rights(render: Render) -> None:
    """With watchNamespaces each of them gets a Role, and cluster-wide only nodes, namespaces and CRDs are read."""
    manifests = render(watchNamespaces=["vision", "audio"])
    [cluster_role] = [manifest for manifest in manifests if manifest["kind"] == "ClusterRole"]
    resources = {resource for rule in cluster_role["rules"] for resource in rule["resources"]}
    assert resources == {"nodes", "namespaces", "customresourcedefinitions"}
    everywhere = next(manifest for manifest in render() if manifest["kind"] == "ClusterRole")
    narrowed = [rule for rule in everywhere["rules"] if rule not in cluster_role["rules"]]
    for namespace in ("vision", "audio"):
        [role] = [
            manifest
            for manifest in manifests
            if manifest["kind"] == "Role" and manifest["metadata"]["namespace"] == namespace
        ]
        assert role["rules"] == narrowed


def test_without_a_cluster_role_nothing_outside_is_seen(render: Render) -> None:
    """rbac.clusterRole=false leaves the Roles as they are, and nothing of the cluster's own; the operator is told."""
    namespaces = ["vision", "audio"]
    with_it = render(watchNamespaces=namespaces)
    without = render(watchNamespaces=namespaces, rbac={"clusterRole": False})
    told = {"name": "WATCH_CLUSTER", "value": "true"}
    for manifest in with_it:
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            container["env"][container["env"].index(told)] = told | {"value": "false"}
    assert [one for one in with_it if one["kind"] not in {"ClusterRole", "ClusterRoleBinding"}] == without


def test_every_kind_of_child_may_be_made(render: Render) -> None:
    """What the operator may want of a resource, it may also look at, apply and prune."""
    granted = {
        (group, resource): set(rule["verbs"])
        for rule in rules(render())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    for kind in CHILDREN:
        assert {"get", "list", "watch", "create", "patch", "delete"} == granted[kind.group, kind.plural], kind.name


@pytest.mark.parametrize("namespaces", [[], ["vision", "audio"]])
def test_every_role_is_bound_to_the_operator(render: Render, namespaces: list[str]) -> None:
    """Each role has a binding of its own kind, in its own namespace, to the ServiceAccount that the pod runs as."""
    manifests = render(watchNamespaces=namespaces, serviceAccount={"name": "special"})
    places = {
        kind: {
            (manifest["metadata"].get("namespace"), manifest["metadata"]["name"])
            for manifest in manifests
            if manifest["kind"] == kind
        }
        for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount")
    }
    assert places["Role"] == places["RoleBinding"]
    assert places["ClusterRole"] == places["ClusterRoleBinding"]
    [account] = places["ServiceAccount"]
    for binding in (manifest for manifest in manifests if manifest["kind"].endswith("RoleBinding")):
        assert binding["roleRef"]["name"] == binding["metadata"]["name"]
        assert [(subject["namespace"], subject["name"]) for subject in binding["subjects"]] == [account]


def test_roles_and_account_can_come_from_elsewhere(render: Render) -> None:
    """Who makes roles and accounts by other means gets neither, and the pod uses the account that was named."""
    manifests = render(rbac={"create": False}, serviceAccount={"create": False, "name": "given"})
    assert {manifest["kind"] for manifest in manifests} == {"CustomResourceDefinition", "Deployment"}
    [deployment] = [manifest for manifest in manifests if manifest["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == "given"
