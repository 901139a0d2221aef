"""The corpus of tests/schema/cases before a real API server: the CRD alone refuses what is wrong, in words."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from omega_schema.errors import ResourceError
from omega_schema.limits import GROUP, PLURAL, RESERVED_ENV, VERSION
from omega_schema.resource import OmegaVLMDeployment

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "schema" / "cases"
REFUSED = "# refused: "

pytestmark = pytest.mark.usefixtures("definition")

Kubectl = Callable[..., str]


class Admission:
    """Asks the API server about resources without storing them, unless `store` is called."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._api = client.CustomObjectsApi(config.new_client_from_config(str(kubeconfig)))
        self._place = {"group": GROUP, "version": VERSION, "plural": PLURAL, "namespace": namespace}

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """What would be stored.

        Raises:
            client.ApiException: the API server refuses.
        """
        return self._api.create_namespaced_custom_object(
            **self._place, body=body, dry_run="All", field_validation="Strict"
        )

    def replace(self, body: dict[str, Any]) -> dict[str, Any]:
        """What would be stored in the place of the resource of the same name."""
        return self._api.replace_namespaced_custom_object(
            **self._place, name=body["metadata"]["name"], body=body, dry_run="All", field_validation="Strict"
        )

    def store(self, body: dict[str, Any]) -> dict[str, Any]:
        """Store a resource."""
        return self._api.create_namespaced_custom_object(**self._place, body=body, field_validation="Strict")

    def remove(self, name: str) -> None:
        """Remove a stored resource."""
        self._api.delete_namespaced_custom_object(**self._place, name=name)


def cases(kind: str) -> list[Any]:
    """The files of one kind, as parameters named after them."""
    return [pytest.param(path, id=path.stem) for path in sorted((CASES / kind).glob("*.yaml"))]


def read(path: Path) -> tuple[str | None, list[Any]]:
    """What a refusal must say, or None, and the documents of one file."""
    text = path.read_text()
    head = text.partition("\n")[0]
    return head.removeprefix(REFUSED) if head.startswith(REFUSED) else None, list(yaml.safe_load_all(text))


def message(refusal: pytest.ExceptionInfo[Any]) -> str:
    """The sentence of an API server's error."""
    return str(json.loads(refusal.value.body)["message"])


@pytest.fixture(scope="module")
def place(kubectl: Kubectl) -> Iterator[str]:
    """A namespace for this module."""
    name = "test-admission"
    kubectl("delete", "namespace", name, "--ignore-not-found")
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def admission(kubeconfig: Path, place: str) -> Admission:
    """The API server's judgement."""
    return Admission(kubeconfig, place)


@pytest.mark.parametrize("path", cases("invalid"))
def test_refuses(admission: Admission, path: Path) -> None:
    """The API server says the words that the file begins with, which are pydantic's words too."""
    expected, (body,) = read(path)
    assert expected
    with pytest.raises(client.ApiException) as refusal:
        admission.create(body)
    assert refusal.value.status in {400, 422}
    assert expected in message(refusal)


@pytest.mark.parametrize("path", cases("valid"))
def test_accepts(admission: Admission, path: Path) -> None:
    """The API server accepts, and fills in the very defaults that pydantic fills in."""
    _, (body,) = read(path)
    stored = admission.create(body)
    assert OmegaVLMDeployment.parse(stored).spec == OmegaVLMDeployment.parse(body).spec


@pytest.mark.parametrize("path", cases("changes"))
def test_judges_changes(admission: Admission, path: Path) -> None:
    """A change in place is judged by what was there before."""
    expected, (old, new) = read(path)
    old["metadata"]["name"] = new["metadata"]["name"] = path.stem
    version = admission.store(old)["metadata"]["resourceVersion"]
    new["metadata"]["resourceVersion"] = version
    try:
        if expected is None:
            admission.replace(new)
            return
        with pytest.raises(client.ApiException) as refusal:
            admission.replace(new)
        assert expected in message(refusal)
    finally:
        admission.remove(path.stem)


def test_the_largest_resource_fits_the_cost_budget(admission: Admission) -> None:
    """The rules stay within the API server's budget when every list and map is full."""
    long = "n" * 240
    resources = {f"example.com/r{number}": "1000" for number in range(16)}
    full = {f"example.com/{'k' * 50}{number}": "v" * 63 for number in range(64)}
    body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "OmegaVLMDeployment",
        "metadata": {"name": "n" * 40},
        "spec": {
            "model": {"source": "pvc://" + "c" * 250 + "/" + "p" * 255},
            "images": {
                "allowedHosts": [f"h{number}.{long}.example" for number in range(64)],
                "allowedCidrs": [f"2001:db8:{number:x}::/48" for number in range(64)],
            },
            "service": {"annotations": full},
            "networkPolicy": {kind: [{"podSelector": {"matchLabels": {"a": "b"}}}] * 32 for kind in ("from", "to")},
            "gateway": {
                "parentRefs": [{"name": f"{long}{number}", "sectionName": long} for number in range(8)],
                "hostnames": [f"h{number}.{'n' * 60}.example" for number in range(16)],
            },
            "pod": {
                "env": [{"name": f"{long}_{number}", "value": "x" * 1000} for number in range(100)],
                "labels": full,
                "annotations": full,
                "nodeSelector": full,
                "tolerations": [{"key": f"{long}{number}", "operator": "Exists"} for number in range(32)],
                "resources": {"requests": resources, "limits": resources},
                "imagePullSecrets": [{"name": f"{long}{number}"} for number in range(16)],
            },
        },
    }
    stored = admission.create(copy.deepcopy(body))
    assert OmegaVLMDeployment.parse(stored).spec == OmegaVLMDeployment.parse(body).spec


def test_agrees_with_pydantic_on_mixtures(admission: Admission) -> None:
    """Values of the whole corpus, put into fields that they were not written for, are judged alike by both sides."""
    chance = random.Random(20)
    paths = [*(CASES / "valid").glob("*.yaml"), *(CASES / "invalid").glob("*.yaml")]
    specs = [body["spec"] for path in sorted(paths) for body in read(path)[1] if "spec" in body]
    values = [value for spec in specs for _, value in leaves(spec)]
    _, (whole,) = read(CASES / "valid" / "everything.yaml")
    fields = [field for field, _ in leaves(whole["spec"])]
    verdicts = {True: 0, False: 0}
    for _ in range(500):
        body = copy.deepcopy(whole)
        *outer, last = chance.choice(fields)
        place = body["spec"]
        for step in outer:
            place = place[step]
        place[last] = chance.choice(values)
        ours = parses(body)
        verdicts[ours] += 1
        assert ours == accepts(admission, body), f"{'.'.join(map(str, outer))}.{last}: {place[last]!r}"
    assert min(verdicts.values()) > 50


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Path and value of everything in a document that holds nothing else; a map of free content counts as one."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if not node or not children or path[-1:] in {("affinity",), ("valueFrom",), ("from",), ("to",)}:
        yield path, node
        return
    for step, child in children:
        yield from leaves(child, (*path, step))


def parses(body: dict[str, Any]) -> bool:
    """Whether pydantic takes a resource."""
    try:
        OmegaVLMDeployment.parse(body)
    except ResourceError:
        return False
    return True


def accepts(admission: Admission, body: dict[str, Any]) -> bool:
    """Whether the API server takes a resource."""
    try:
        admission.create(body)
    except client.ApiException as refusal:
        if refusal.status not in {400, 422}:
            raise
        return False
    return True


@pytest.mark.parametrize("name", sorted(RESERVED_ENV))
def test_names_the_field_of_a_reserved_variable(admission: Admission, name: str) -> None:
    """Whoever sets a variable that a field sets is told the field."""
    _, (body,) = read(CASES / "valid" / "least.yaml")
    body["spec"]["pod"] = {"env": [{"name": name, "value": "1"}]}
    with pytest.raises(client.ApiException) as refusal:
        admission.create(body)
    assert f"{name} is set by {RESERVED_ENV[name]}: set that field instead" in message(refusal)


@pytest.mark.parametrize("case", ["cuda-without-gpus", "gpus-not-divisible", "size-above-pixels", "unknown-in-spec"])
def test_kubectl_apply_shows_the_words(kubectl: Kubectl, place: str, case: str) -> None:
    """What a person sees at the terminal is the same sentence."""
    path = CASES / "invalid" / f"{case}.yaml"
    expected, _ = read(path)
    with pytest.raises(pytest.fail.Exception) as refusal:
        kubectl("apply", f"--namespace={place}", "--dry-run=server", f"--filename={path}")
    assert expected
    assert expected in str(refusal.value)


def test_nothing_differs_after_apply(kubectl: Kubectl, place: str) -> None:
    """`kubectl diff` of an applied resource is empty: defaults are no difference."""
    path = CASES / "valid" / "everything.yaml"
    kubectl("apply", f"--namespace={place}", f"--filename={path}")
    assert kubectl("diff", f"--namespace={place}", f"--filename={path}") == ""
    kubectl("delete", f"--namespace={place}", f"--filename={path}")


def test_scale_and_columns(kubectl: Kubectl, place: str) -> None:
    """Kubectl scale changes spec.replicas, which is absent until somebody sets it; kubectl get has our columns."""
    path = CASES / "valid" / "least.yaml"
    kubectl("apply", f"--namespace={place}", f"--filename={path}")
    try:
        get = ("get", "ovlm/omega", f"--namespace={place}", "--output=jsonpath={.spec.replicas}")
        assert kubectl(*get) == ""
        scale = f"/apis/{GROUP}/{VERSION}/namespaces/{place}/{PLURAL}/omega/scale"
        with pytest.raises(pytest.fail.Exception, match=r"spec\.replicas"):
            kubectl("get", f"--raw={scale}")  # what an autoscaler sees, hence the advice at spec.replicas
        kubectl("scale", "ovlm/omega", f"--namespace={place}", "--replicas=3")
        assert kubectl(*get) == "3"
        assert json.loads(kubectl("get", f"--raw={scale}"))["spec"]["replicas"] == 3
        header, row = kubectl("get", "ovlm", f"--namespace={place}", "--output=wide").splitlines()
        assert header.split() == ["NAME", "MODEL", "GPUS", "READY", "STATUS", "ENDPOINT", "AGE"]
        assert row.split()[:2] == ["omega", "pvc://weights/omega"]
    finally:
        kubectl("delete", f"--namespace={place}", f"--filename={path}")


def test_explain_reads_well(kubectl: Kubectl) -> None:
    """Kubectl explain says what a field means, in which unit, its bounds and its default."""
    text = " ".join(kubectl("explain", "ovlm.spec.images.maxSize").split())
    assert "Longer side of a picture as the model sees it, in pixels." in text
    assert "From 28 to 16384. Default: 1024." in text
