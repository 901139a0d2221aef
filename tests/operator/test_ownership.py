"""When a child needs another apply: our fields changed, or we own more than we want; what others own never counts."""

from typing import Any

import pytest

from omega_operator.ownership import contains, is_ours, owns_more, project

Json = dict[str, Any]

WANTED: Json = {
    "metadata": {"name": "vl", "labels": {"a": "1"}},
    "spec": {
        "containers": [{"name": "server", "image": "x:1", "env": [{"name": "A", "value": "1"}], "command": ["a", "b"]}],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    },
}


def live(**changes: Any) -> Json:
    """The object as a cluster shows it: with defaults, and with what others added."""
    container = {
        "name": "server",
        "image": "x:1",
        "env": [{"name": "A", "value": "1"}, {"name": "THEIRS", "value": "2"}],
    }
    return {
        "metadata": {"name": "vl", "labels": {"a": "1", "theirs": "2"}, "uid": "u"},
        "spec": {
            "containers": [{"name": "injected"}, container | {"command": ["a", "b"], "tty": False} | changes],
            "volumes": [{"name": "theirs"}, {"name": "tmp", "emptyDir": {}}],
        },
    }


def test_defaults_and_fields_of_others_are_no_drift() -> None:
    """Defaulted fields, injected containers and foreign labels leave an object as we want it."""
    assert contains(live(), WANTED)


@pytest.mark.parametrize(
    "change",
    [
        {"image": "x:2"},
        {"env": [{"name": "A", "value": "9"}]},
        {"env": []},
        {"command": ["a"]},
        {"command": ["b", "a"]},
    ],
    ids=str,
)
def test_drift_of_our_fields(change: Json) -> None:
    """Any other value of a field of ours is drift, in lists with and without keys."""
    assert not contains(live(**change), WANTED)


def test_projection_has_the_manifests_shape() -> None:
    """What is compared with the server's own words later is only what the manifest speaks of."""
    assert project(live(), WANTED) == WANTED
    assert project({"cpu": "1", "memory": "2"}, {"cpu": "1000m"}) == {"cpu": "1"}


OWNED: Json = {
    "f:metadata": {"f:labels": {"f:a": {}}, "f:ownerReferences": {'k:{"uid":"u"}': {}}},
    "f:spec": {
        "f:containers": {'k:{"name":"server"}': {".": {}, "f:image": {}, "f:env": {'k:{"name":"A"}': {".": {}}}}},
        "f:finalizers": {'v:"x"': {}},
    },
}


def managed(fields: Json, **entry: Any) -> Json:
    """An object with one record of owned fields."""
    record = {"manager": "omega-operator", "operation": "Apply", "fieldsV1": fields} | entry
    return {"metadata": {"managedFields": [record]}}


def test_owned_fields_with_counterparts() -> None:
    """Owning exactly what the manifest has is as it should be."""
    wanted = WANTED | {"metadata": WANTED["metadata"] | {"ownerReferences": [{"uid": "u"}]}}
    wanted["spec"] = WANTED["spec"] | {"finalizers": ["x"]}
    assert not owns_more(managed(OWNED), wanted)


@pytest.mark.parametrize(
    "fields",
    [
        {"f:spec": {"f:replicas": {}}},
        {"f:spec": {"f:containers": {'k:{"name":"gone"}': {}}}},
        {"f:spec": {"f:containers": {'k:{"name":"server"}': {"f:env": {'k:{"name":"B"}': {}}}}}},
        {"f:spec": {"f:finalizers": {'v:"y"': {}}}},
    ],
    ids=str,
)
def test_owned_fields_without_counterparts(fields: Json) -> None:
    """A field, an entry of a list or a value that we own and no longer want needs an apply that gives it up."""
    assert owns_more(managed(fields), WANTED)
    assert not owns_more(managed(fields, manager="kubectl"), WANTED)
    assert not owns_more(managed(fields, subresource="status"), WANTED)


def test_whose_object_it_is() -> None:
    """Ours is what names the resource as owner, or what we once applied and nobody else controls."""
    theirs = {"metadata": {"name": "vl"}}
    assert not is_ours(theirs, "uid-1")
    assert is_ours({"metadata": {"ownerReferences": [{"uid": "uid-1"}]}}, "uid-1")
    stripped = managed({})
    assert is_ours(stripped, "uid-1")
    stripped["metadata"]["ownerReferences"] = [{"uid": "other", "controller": True}]
    assert not is_ours(stripped, "uid-1")
