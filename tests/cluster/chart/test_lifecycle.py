"""The chart comes, changes, goes back, goes and comes again, while a model runs: no pod of it is restarted.

No release is out yet. So the first one is this checkout's chart, packaged as 0.1.0, and the newer one is the same as 0.2.0,
with an operator that writes this version on all that it makes, and with another server image as its default. Whether a
change of the code makes other pods than the last release did is the question of tests/operator/test_released.py.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster import go_tools

pytestmark = pytest.mark.alone

CHART = Path(__file__).parents[3] / "charts/omega-vlm"
DEFINITION = "omegavlmdeployments.omegavlm.io"
FIRST, NEWER = "0.1.0", "0.2.0"
NEWER_OPERATOR = {"repository": "localhost/omega-vlm/newer-operator", "tag": NEWER}
VERSION = r".metadata.labels.app\.kubernetes\.io/version"
IMAGE = ".spec.template.spec.containers[0].image"

Install = Callable[..., None]


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both releases of the chart, packaged as users get them."""
    directory = tmp_path_factory.mktemp("charts")
    helm = str(go_tools.ensure(["helm"]) / "helm")
    for version in (FIRST, NEWER):
        versions = (f"--version={version}", f"--app-version={version}", f"--destination={directory}")
        subprocess.run([helm, "package", str(CHART), *versions], capture_output=True, check=True)
    return directory


@pytest.fixture(scope="module")
def newer_images(
    tool: Callable[..., str], operator_image: Any, stand_in: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The images of the newer release in the cluster: the operator knows its version, the server has another name."""
    dockerfile = tmp_path_factory.mktemp("newer") / "Dockerfile"
    code = "/opt/omega/code/omega_operator/__init__.py"
    dockerfile.write_text(
        f"FROM {operator_image.reference('localhost')}\nUSER 0:0\n"
        f"""RUN sed -i 's/^__version__ = .*/__version__ = "{NEWER}"/' {code} \\\n"""
        f" && python -m compileall -q -f --invalidation-mode unchecked-hash {code}\nUSER 65532:65532\n"
    )
    tool("build-image", str(dockerfile), ":".join(NEWER_OPERATOR.values()))
    dockerfile.write_text(f"FROM {stand_in}:{FIRST}\n")
    tool("build-image", str(dockerfile), f"{stand_in}:{NEWER}")


@pytest.fixture
def upgrade(release: Any, charts: Path, newer_images: None) -> Install:
    """``upgrade(**values)``: to the newer release, until its operator has been at work on the model."""

    def run(**values: Any) -> None:
        release.install(charts / f"omega-vlm-{NEWER}.tgz", **({"image": NEWER_OPERATOR} | values))
        release.until("deployment/vl", VERSION, NEWER)

    return run


@pytest.fixture
def first(release: Any, charts: Path) -> Any:
    """The first release, with a model that runs."""
    release.install(charts / f"omega-vlm-{FIRST}.tgz")
    release.serve()
    return release


def test_an_upgrade_restarts_no_model(first: Any, upgrade: Install, stand_in: str) -> None:
    """The model keeps its pods and its image, and the newer operator changes it live; a new model has the newer image."""
    before = first.pods()
    assert len(before) == 1
    upgrade()
    first.limit(3)
    first.serve("new")
    first.until("deployment/vl", IMAGE, f"{stand_in}:{FIRST}")
    first.until("deployment/new", IMAGE, f"{stand_in}:{NEWER}")
    assert first.pods() > before
    assert len(first.pods()) == 2


def test_a_rollback_restarts_no_model(first: Any, upgrade: Install) -> None:
    """Back at the first revision the first operator is at work, and the pods are those from before the upgrade."""
    before = first.pods()
    upgrade()
    first.rollback(1)
    first.until("deployment/vl", VERSION, FIRST)
    first.limit(3)
    assert first.pods() == before


def test_a_tag_in_the_values_is_a_wish(first: Any, upgrade: Install, stand_in: str) -> None:
    """The model moves to a server image that the values name; a rollback leaves it there, naming the first moves it back."""
    old = first.pods()
    upgrade(serverImage={"repository": stand_in, "tag": NEWER})
    first.until("deployment/vl", IMAGE, f"{stand_in}:{NEWER}")
    new = _settled(first)
    assert new.isdisjoint(old)
    first.rollback(1)
    first.until("deployment/vl", VERSION, FIRST)
    first.limit(3)
    assert first.pods() == new
    upgrade(serverImage={"repository": stand_in, "tag": FIRST})
    first.until("deployment/vl", IMAGE, f"{stand_in}:{FIRST}")
    assert _settled(first).isdisjoint(new)


def test_models_outlive_the_chart(first: Any, charts: Path) -> None:
    """Without the chart the definition, the resource and its pods stay and serve; the chart comes back and takes them up."""
    before = first.pods()
    first.limit(3)
    applied = first.answer("/ready")["config"]
    first.uninstall()
    assert first.kubectl("get", "crd", DEFINITION, "--output=name")
    assert first.get("ovlm", "vl")["status"]["readyReplicas"] == 1
    assert first.answer("/ready")["config"] == applied
    assert first.pods() == before
    first.install(charts / f"omega-vlm-{FIRST}.tgz")
    first.limit(4)
    assert first.answer("/ready")["config"]["hash"] not in {None, applied["hash"]}
    assert first.pods() == before


def test_the_definition_takes_everything_with_it(first: Any) -> None:
    """Without the chart, whoever deletes the definition deletes the models and all that was made of them."""
    if not first.values["crds"]["enabled"]:
        pytest.skip("somebody else has brought the definition, and may need it")
    first.uninstall()
    first.kubectl("delete", "crd", DEFINITION)
    kinds = "serviceaccounts,configmaps,networkpolicies,services,deployments,pods"
    ours = "--selector=app.kubernetes.io/managed-by=omega-operator"
    first.kubectl("--namespace", first.models, "wait", "--for=delete", kinds, ours, "--timeout=2m")
    assert first.get(kinds, ours)["items"] == []


def _settled(release: Any) -> set[tuple[str, int]]:
    """The pods of the model when its rollout is over."""
    release.kubectl("--namespace", release.models, "rollout", "status", "deployment/vl", "--timeout=2m")
    pods: set[tuple[str, int]] = release.pods()
    assert len(pods) == 1
    return pods
