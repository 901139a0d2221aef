"""The corpus of resources, as pydantic judges it. tests/cluster asks a real API server about the same files."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from omega_schema import rules
from omega_schema.errors import ResourceError
from omega_schema.resource import OmegaVLMDeployment

CASES = Path(__file__).parent / "cases"
REFUSED = "# refused: "


def cases(kind: str) -> list[Any]:
    """The files of one kind, as parameters named after them."""
    return [pytest.param(path, id=path.stem) for path in sorted((CASES / kind).glob("*.yaml"))]


def read(path: Path) -> tuple[str | None, list[Any]]:
    """What a refusal must say, or None, and the documents of one file."""
    text = path.read_text()
    head = text.partition("\n")[0]
    return head.removeprefix(REFUSED) if head.startswith(REFUSED) else None, list(yaml.safe_load_all(text))


def test_the_corpus_has_its_size() -> None:
    """At least 60 resources that are refused and 20 that are accepted."""
    assert len(cases("invalid")) >= 60
    assert len(cases("valid")) >= 20


@pytest.mark.parametrize("path", cases("valid"))
def test_accepts(path: Path) -> None:
    """A valid resource is parsed, and what was parsed can be parsed again."""
    expected, (body,) = read(path)
    assert expected is None
    resource = OmegaVLMDeployment.parse(body)
    again = resource.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert OmegaVLMDeployment.parse(again) == resource


@pytest.mark.parametrize("path", cases("invalid"))
def test_refuses(path: Path) -> None:
    """An invalid resource is refused with the words that its file begins with."""
    expected, (body,) = read(path)
    assert expected
    with pytest.raises(ResourceError, match=re.escape(expected)):
        OmegaVLMDeployment.parse(body)


@pytest.mark.parametrize("path", cases("changes"))
def test_judges_changes(path: Path) -> None:
    """Both ends of a change are valid; the change itself is judged by the rules about changes."""
    expected, bodies = read(path)
    old, new = map(OmegaVLMDeployment.parse, bodies)
    if expected is None:
        rules.check_transition(new, old)
        return
    with pytest.raises(ResourceError, match=re.escape(expected)):
        rules.check_transition(new, old)


def test_every_rule_is_broken_by_a_case() -> None:
    """No rule is there that no case needs: each message occurs in a refusal of the corpus."""
    said: set[str] = set()
    for parameter in (*cases("invalid"), *cases("changes")):
        _, bodies = read(parameter.values[0])
        try:
            parsed = [OmegaVLMDeployment.parse(body) for body in bodies]
            rules.check_transition(parsed[-1], parsed[0])
        except ResourceError as refusal:
            said.update(
                sentence.message for sentence in (*rules.RULES, *rules.TRANSITIONS) if sentence.message in str(refusal)
            )
    unbroken = {sentence.message for sentence in (*rules.RULES, *rules.TRANSITIONS)} - said
    assert not unbroken


def test_reads_what_the_api_server_adds() -> None:
    """Metadata that the API server adds is read or passed over; a status that we wrote is read back."""
    resource = OmegaVLMDeployment.parse(
        {
            "apiVersion": "omegavlm.io/v1alpha1",
            "kind": "OmegaVLMDeployment",
            "metadata": {
                "name": "omega",
                "namespace": "vision",
                "uid": "d319e220-78a9-407c-94a7-0d084a4eb7fe",
                "generation": 4,
                "resourceVersion": "1234",
                "creationTimestamp": "2026-11-24T11:36:52Z",
                "managedFields": [{"manager": "kubectl", "operation": "Apply"}],
                "ownerReferences": [],
            },
            "spec": {"model": {"source": "pvc://weights/omega"}},
            "status": {
                "observedGeneration": 4,
                "ready": "1/2",
                "conditions": [
                    {
                        "type": "Ready",
                        "status": "False",
                        "reason": "Loading",
                        "lastTransitionTime": "2026-11-24T11:37:00Z",
                    }
                ],
            },
        }
    )
    assert resource.metadata.generation == 4
    assert resource.status is not None
    assert resource.status.conditions[0].reason == "Loading"
    assert resource.spec.replicas is None


def test_resources_are_written_in_the_names_of_the_api() -> None:
    """The Python names of the fields are no second spelling of the resource."""
    body = {
        "api_version": "omegavlm.io/v1alpha1",
        "kind": "OmegaVLMDeployment",
        "metadata": {"name": "omega"},
        "spec": {"model": {"source": "pvc://weights/omega"}},
    }
    with pytest.raises(ResourceError, match="apiVersion: Required value"):
        OmegaVLMDeployment.parse(body)
