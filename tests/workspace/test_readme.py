"""README.md and docs/: each command has a test, each link and file name leads somewhere."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from omega_schema.resource import OmegaVLMDeployment

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "charts/*/*.md", "docs/**/*.md", "demo/*.md", "tools/**/*.md")
    for path in ROOT.glob(pattern)
)
FOLDERS = ("charts", "crds", "demo", "docs", "operator", "requirements", "server", "tests", "tools")


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)


def anchors(page: Path) -> Iterator[str]:
    """The fragments by which a page's headings can be linked to."""
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_command_names_its_test() -> None:
    """Each block of commands in README.md stands below a comment that names a test or script that runs it."""
    lines = (ROOT / "README.md").read_text().splitlines()
    blocks = [index for index, line in enumerate(lines) if line in ("```sh", "```python")]
    assert len(blocks) > 10
    for index in blocks:
        named = re.fullmatch(r"<!-- tested-by: (\S+) -->", lines[index - 1])
        assert named, f"README.md:{index + 1} has no tested-by comment"
        assert (ROOT / named[1]).is_file(), f"README.md:{index} names {named[1]}, which is no file"


def test_the_resource_is_one() -> None:
    """The resource that README.md explains is valid."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    written = yaml.safe_load(text)
    written["metadata"] |= {"namespace": "vision", "uid": "uid-1", "generation": 1}
    assert OmegaVLMDeployment.model_validate(written).spec.gpu.count == 8


def test_no_command_hides_in_another_block() -> None:
    """What looks like a shell command in README.md stands in a block that is tested."""
    languages = re.findall(r"^```(\w*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {name for name in languages if name} == {"sh", "python", "yaml"}
    assert not re.search(r"^    (kubectl|helm|docker|make|curl) ", prose(Path("README.md")), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to this repository names a file that is there, and a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page} links to {target}"
        if anchor:
            assert anchor in anchors(path.resolve().relative_to(ROOT)), f"{page} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_that_are_named_exist(page: Path) -> None:
    """A path in backticks that begins with a folder of this repository is one."""
    for name in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`", prose(page)):
        assert (ROOT / name).exists(), f"{page} names {name}"


def test_files_in_commands_exist() -> None:
    """A path in a command of README.md that begins with a folder of this repository is one."""
    code = "".join(re.findall(r"```(?:sh|python)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
    named = re.findall(rf"(?<![\w/.:-])((?:{'|'.join(FOLDERS)})/[\w./-]+)", code)
    assert len(named) > 3
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_targets_of_make_exist() -> None:
    """Each `make TARGET` that a page names is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:^|`|    )make ([a-z][a-z-]*)", (ROOT / page).read_text(), re.MULTILINE)
    }
    assert named - targets == set()


def test_every_page_is_linked() -> None:
    """Nobody has to guess that a page exists: README.md leads to each of docs/, over other pages if need be."""
    listed = subprocess.run(["git", "ls-files", "docs/*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    reached: set[Path] = set()
    queue = [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for target in re.findall(r"\]\(([^)#\s]+)", prose(page.relative_to(ROOT))):
            path = (page.parent / target).resolve()
            if path.is_relative_to(ROOT) and path.exists():
                queue += sorted(path.glob("*.md")) if path.is_dir() else [path]
    assert [name for name in listed.stdout.split() if ROOT / name not in reached] == []
