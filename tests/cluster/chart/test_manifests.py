"""What the chart renders, judged by kubeconform with the schemas of the API server that runs here."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster import go_tools

pytestmark = pytest.mark.alone

CHART = Path(__file__).parents[3] / "charts/omega-vlm"
EVERYTHING: dict[str, Any] = {
    "replicas": 2,
    "imagePullSecrets": ["registry"],
    "metrics": {"service": {"enabled": True}, "podMonitor": {"enabled": True}},
    "dashboards": {"enabled": True},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "control", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
    "env": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com"}],
}

VERSIONS = (
    "api/v1",
    *(f"apis/{group}/v1" for group in ("apps", "policy", "rbac.authorization.k8s.io", "apiextensions.k8s.io")),
)
"""Of the API, in which the chart's manifests are written."""

Json = dict[str, Any]
Conform = Callable[[str], "subprocess.CompletedProcess[str]"]
Template = Callable[[Json], str]


@pytest.fixture(scope="module")
def conform(kubectl: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Conform:
    """``conform(manifests)``: kubeconform, strict, with the API server's own schemas."""
    program = go_tools.ensure(["kubeconform"]) / "kubeconform"
    directory = tmp_path_factory.mktemp("schemas")
    for version in VERSIONS:
        schemas = json.loads(kubectl("get", "--raw", f"/openapi/v3/{version}"))["components"]["schemas"]
        for name, schema in schemas.items():
            for kind in schema.get("x-kubernetes-group-version-kind", ()):
                group = [kind["group"].partition(".")[0]] if kind["group"] else []
                file = directory / ("-".join([kind["kind"].lower(), *group, kind["version"]]) + ".json")
                file.write_text(json.dumps(_alone(name, schemas)))
    location = f"-schema-location={directory}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    # The API server of a cluster without the Prometheus operator knows no PodMonitor.
    command = [str(program), "-strict", location, "-skip=PodMonitor", "-summary", "-output=json", "-"]

    def run(manifests: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def template() -> Template:
    """``template(values) -> manifests``."""
    program = go_tools.ensure(["helm"]) / "helm"

    def run(values: Json) -> str:
        command = [str(program), "template", "omega-vlm", str(CHART), "--namespace=omega-system", "--values=-"]
        return subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=True).stdout

    return run


def _alone(name: str, schemas: Json) -> Json:
    """One schema and all that it refers to, strict."""
    needed: Json = {}
    queue = [name]
    while queue:
        one = queue.pop()
        if one not in needed:
            needed[one] = _strict(schemas[one])
            queue += [ref.rpartition("/")[2] for ref in _refs(needed[one])]
    return {"$ref": f"#/components/schemas/{name}", "components": {"schemas": needed}}


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {key: _strict(value) for key, value in node.items()}
    if made.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    if isinstance(made.get("properties"), dict) and made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


def _refs(node: Any) -> list[str]:
    if isinstance(node, list):
        return [ref for one in node for ref in _refs(one)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [ref for value in node.values() for ref in _refs(value)]


@pytest.mark.parametrize(
    "values",
    [{}, EVERYTHING, {"watchNamespaces": ["vision"], "rbac": {"clusterRole": False}}],
    ids=["", "all", "roles"],
)
def test_manifests_are_what_the_api_server_knows(conform: Conform, template: Template, values: Json) -> None:
    """Every manifest has the fields and types of this Kubernetes, and no other."""
    done = conform(template(values))
    said = json.loads(done.stdout)
    assert done.returncode == 0, said["resources"]
    assert said["summary"]["valid"] > 5
    assert said["summary"]["skipped"] == (values is EVERYTHING)


@pytest.mark.parametrize(("right", "wrong"), [("replicas: 1", "replicas: many"), ("image: ", "immage: ")])
def test_what_it_does_not_know_is_noticed(conform: Conform, template: Template, right: str, wrong: str) -> None:
    """A wrong type and a field that does not exist are both invalid."""
    manifests = template({})
    assert right in manifests
    assert conform(manifests.replace(right, wrong)).returncode == 1
