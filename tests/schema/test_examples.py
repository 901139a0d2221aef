"""The resources that we show to people are valid."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from omega_schema.limits import KIND
from omega_schema.resource import OmegaVLMDeployment

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```ya?ml\n(.*?)^```", re.DOTALL | re.MULTILINE)


def examples() -> list[Any]:
    """Every resource of ours in demo/**/*.yaml and in the code blocks of README.md and docs/, named by its place."""
    texts = [(path, path.read_text()) for path in sorted(ROOT.glob("demo/**/*.yaml"))]
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))):
        if path.exists():
            texts += [(path, block) for block in FENCE.findall(path.read_text())]
    return [
        pytest.param(document, id=f"{path.relative_to(ROOT)}:{number}")
        for path, text in texts
        if f"kind: {KIND}" in text
        for number, document in enumerate(yaml.safe_load_all(text))
        if isinstance(document, dict) and document.get("kind") == KIND
    ]


def test_there_are_examples() -> None:
    """The demo's resource at least is found, or the next test would pass by finding nothing."""
    assert any(parameter.id.startswith("demo/omega-demo.yaml") for parameter in examples())


@pytest.mark.parametrize("body", examples())
def test_example_is_valid(body: dict[str, Any]) -> None:
    """An example parses as it stands."""
    OmegaVLMDeployment.parse(body)
