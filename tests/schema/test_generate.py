"""tools/generate.py: the same source always gives the same bytes, and a stale file is found."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The generator beside an otherwise empty repository."""
    tools = (f"tools/{name}.py" for name in ("generate", "advice", "chart_readme", "dashboards"))
    for name in (*tools, "charts/omega-vlm/values.yaml", "docs/troubleshooting.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    return tmp_path


def generate(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the generator of a repository."""
    return subprocess.run(
        [sys.executable, "-W", "error", root / "tools" / "generate.py", *arguments],
        env={"PYTHONPATH": str(ROOT / "crds"), "PYTHONHASHSEED": "random"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_repository_is_current() -> None:
    """Nothing differs from what is checked in."""
    result = generate(ROOT, "--check")
    assert result.returncode == 0, result.stdout


def test_writes_and_is_content(copy: Path) -> None:
    """What it writes is what it checks for, byte for byte what stands in the repository."""
    assert generate(copy).returncode == 0
    assert generate(copy, "--check").returncode == 0
    name = "crds/omegavlmdeployments.yaml"
    assert (copy / name).read_bytes() == (ROOT / name).read_bytes()


def test_shows_what_differs(copy: Path) -> None:
    """A file that was edited by hand makes the check fail with a diff, and stays as it is."""
    generate(copy)
    file = copy / "docs" / "reference" / "resource.md"
    file.write_text(file.read_text().replace("What is wanted.", "Edited by hand."))
    result = generate(copy, "--check")
    assert result.returncode == 1
    assert "-Edited by hand." in result.stdout
    assert "make generate" in result.stderr
    assert "Edited by hand." in file.read_text()
