"""helm, and what it makes of the chart."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/omega-vlm"
NAMESPACE = "omega-system"

Values = dict[str, Any]
Render = Callable[..., list[dict[str, Any]]]
Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """``helm(*arguments, values={}) -> CompletedProcess``. Who runs the cluster's tests too has the time to build helm."""
    sys.path.append(str(ROOT / "tools"))
    from cluster import go_tools

    program = go_tools.binary("helm")
    if not program.exists():
        if not any("tests/cluster" in item.path.as_posix() for item in request.session.items):
            pytest.skip("helm is not built yet; build it with: python3 tools/cluster tools helm")
        go_tools.ensure(["helm"])
    directory = tmp_path_factory.mktemp("helm")

    def run(*arguments: str, values: Values | None = None) -> subprocess.CompletedProcess[str]:
        file = directory / "values.json"
        file.write_text(json.dumps(values or {}))
        command = [str(program), *arguments, f"--values={file}"]
        environment = {"HOME": str(directory), "PATH": "/usr/bin:/bin", "KUBECONFIG": "/dev/null"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)

    return run


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """``render(**values) -> manifests``, as helm would send them to a cluster."""

    def run(**values: Any) -> list[dict[str, Any]]:
        command = ("template", "omega-vlm", str(CHART), f"--namespace={NAMESPACE}", "--kube-version=1.37.0")
        done = helm(*command, values=values)
        assert done.returncode == 0, done.stderr
        return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]

    return run


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The only manifest of a kind."""
    [found] = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


@pytest.fixture(scope="session")
def pick() -> Callable[[list[dict[str, Any]], str], dict[str, Any]]:
    """``pick(manifests, kind)``: the only manifest of a kind."""
    return one
