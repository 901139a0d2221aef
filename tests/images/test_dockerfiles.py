"""What the Dockerfiles promise. tests/cluster looks at the images that come of them."""

import ast
import fnmatch
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("server", "operator")
CODE = {
    "server": ("crds/omega_schema", "server/omega_server"),
    "operator": ("crds/omega_schema", "operator/omega_operator"),
}


def instructions(name: str) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile, with continued lines joined and comments left out."""
    text = re.sub(r"^#.*\n", "", (ROOT / f"Dockerfile.{name}").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def final_stage(name: str) -> list[tuple[str, str]]:
    """The instructions of the last stage and of the stage that it continues."""
    stages: list[list[tuple[str, str]]] = []
    for instruction in instructions(name):
        if instruction[0] == "FROM":
            stages.append([])
        if stages:
            stages[-1].append(instruction)
    named = {stage[0][1].partition(" AS ")[2]: stage for stage in stages}
    return named.get(stages[-1][0][1], []) + stages[-1]


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_as_nobody_in_particular(name: str) -> None:
    """The container's user is not root, by number, so that Kubernetes can check it."""
    assert [value for word, value in final_stage(name) if word == "USER"] == ["65532:65532"]


@pytest.mark.parametrize("name", NAMES)
def test_what_it_installs_is_pinned(name: str) -> None:
    """Pip refuses what has no hash, and builds nothing from source; our own requirements are all there is."""
    [install] = [value for word, value in instructions(name) if word == "RUN" and "pip install" in value]
    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    assert f"requirements/{name}.txt /tmp/requirements.txt" in dict(final_stage(name)[1:2]).get("COPY", "")


@pytest.mark.parametrize("name", NAMES)
def test_certificates_leave_no_trace(name: str) -> None:
    """A company's certificates are mounted for the installation, and never copied."""
    [install] = [value for word, value in instructions(name) if "pip install" in value]
    assert "--mount=type=secret,id=ca" in install
    assert not [value for word, value in instructions(name) if word in {"COPY", "ADD", "ENV"} and "ca.crt" in value]


@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_the_code_leaves_the_requirements_alone(name: str) -> None:
    """The code comes in after the requirements, so that they need not be installed or moved again."""
    words = final_stage(name)
    installed = next(number for number, (word, value) in enumerate(words) if "pip install" in value)
    copied = [number for number, (word, value) in enumerate(words) if word == "COPY" and "--from=code" in value]
    assert copied
    assert min(copied) > installed


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_and_how_it_is(name: str) -> None:
    """Labels, a health check, and a base image that the builder may choose."""
    words = dict(final_stage(name))
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in words["LABEL"]
    assert "urlopen('http://127.0.0.1:" in words["HEALTHCHECK"]
    assert ("ARG", "BASE_IMAGE=docker.io/library/python:3.13-slim-trixie") in instructions(name)


def test_the_original_command_line_works() -> None:
    """Flags after the image's name go to the server, as in the original's docker run."""
    assert dict(final_stage("server"))["ENTRYPOINT"] == '["omega-server"]'


def test_the_image_has_the_commands_of_the_project(tmp_path: Path) -> None:
    """Each command of server/pyproject.toml but kubectl's is made, by the shell's own words, and runs what the project says."""
    scripts = tomllib.loads((ROOT / "server" / "pyproject.toml").read_text())["project"]["scripts"]
    del scripts["kubectl-omega"]  # it works through kubectl, which no pod has
    [make] = [value for word, value in instructions("server") if word == "RUN" and "printf" in value]
    loop = re.search(r"for command in .*? done", make, re.DOTALL)
    assert loop
    (tmp_path / "bin").mkdir()
    subprocess.run(["sh", "-ec", loop[0].replace("/opt/omega/venv/bin/$", f"{tmp_path}/bin/$")], check=True)
    made = {file.name: file.read_text() for file in (tmp_path / "bin").iterdir()}
    assert made.keys() == scripts.keys()
    for command, target in scripts.items():
        module, _, function = target.partition(":")
        assert f"from {module} import {function}\n" in made[command]
        assert f"/opt/omega/venv/bin/{command} " in make[make.index("chmod 755") :]
        compile(made[command], command, "exec")


@pytest.mark.parametrize("name", NAMES)
def test_the_context_holds_what_is_copied(name: str) -> None:
    """What a Dockerfile copies exists, and .dockerignore lets it in."""
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for word, value in instructions(name):
        if word == "COPY" and "--from" not in value:
            source = value.split()[0]
            assert (ROOT / source).exists()
            assert any(fnmatch.fnmatch(source, f"{pattern}*") for pattern in let_in)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_holds_our_code_for_it_and_no_other(name: str) -> None:
    """The server's image has no operator and the operator's no server."""
    copied = {
        value.split()[0]
        for word, value in instructions(name)
        if word == "COPY" and "--from" not in value and "/opt/omega/code" in value
    }
    assert copied == set(CODE[name])


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_the_code_imports_is_installed(name: str) -> None:
    """Each import of an image's code is of the standard library, of our code in it, or of its pinned requirements."""
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE))
    own = {Path(code).name for code in CODE[name]}
    distributions = packages_distributions()
    for file in (file for code in CODE[name] for file in (ROOT / code).rglob("*.py")):
        for module in imported(file) - own - set(sys.stdlib_module_names):
            providers = {provider.lower().replace("_", "-") for provider in distributions.get(module, ())}
            assert providers & pinned, f"{file.relative_to(ROOT)} imports {module}, which the image does not have"


def imported(file: Path) -> set[str]:
    """Top-level names of the modules that a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names}
