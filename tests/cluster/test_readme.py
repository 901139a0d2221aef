"""The commands of README.md that name this file, run in its order, on a real kubelet with the real images.

Three things are not as on a reader's machine:

- There is no Docker here. `docker build` is tools/cluster build-image (buildah), which builds the same file under the same
  name and puts the image where the cluster finds it, as a push would. `docker run` is podman, in the machine's own
  network, because a bridge would stay behind.
- There is no GPU here. `--gpus all` becomes `--env DEVICE=cpu`, and nothing else of that command changes.
- kubectl's default namespace is one of the test's own.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from cluster import buildah, go_tools, host_packages  # noqa: E402
from cluster.places import PLACES  # noqa: E402

pytestmark = pytest.mark.alone

DEFINITION = "omegavlmdeployments.omegavlm.io"
ADDRESS = "http://127.0.0.1:8000"
"""Where README.md's clients ask."""

KEY = "a-key-of-the-readme"


def blocks() -> list[tuple[str, str]]:
    """Language and text of the blocks that name this file, in order."""
    named = r"<!-- tested-by: tests/cluster/test_readme.py -->\n```(sh|python)\n(.*?)```"
    return re.findall(named, (ROOT / "README.md").read_text(), re.DOTALL)


@dataclass
class Reader:
    """A person who types what README.md says."""

    environment: dict[str, str]
    background: list[subprocess.Popen[str]] = field(default_factory=list)

    def type(self, beginning: str, seconds: float = 600) -> str:
        """Run the block that begins so; returns its standard output."""
        language, text = self.find(beginning)
        command = [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout

    def start(self, beginning: str, change: Callable[[str], str] = lambda text: text) -> subprocess.Popen[str]:
        """Start a block that goes on until it is ended."""
        _, text = self.find(beginning)
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", f"{change(text)}\nwait"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.background.append(process)
        return process

    def end(self) -> str:
        """End what was started last; returns what it printed."""
        process = self.background.pop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        return said

    def find(self, beginning: str) -> tuple[str, str]:
        """The one block that begins so."""
        (found,) = (block for block in blocks() if block[1].startswith(beginning))
        return found


@pytest.fixture(scope="module")
def reader(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody with the cluster, the tools and the variables that README.md speaks of."""
    if Path(cluster.kubeconfig).resolve() != PLACES.kubeconfig.resolve():
        pytest.skip("builds images into the local cluster; KUBECONFIG names another one")
    home = tmp_path_factory.mktemp("reader")
    namespace = f"readme-{uuid.uuid4().hex[:8]}"
    kubeconfig = home / "kubeconfig"
    shutil.copy(cluster.kubeconfig, kubeconfig)
    models = home / "models"
    shutil.copytree(ROOT / "demo/model", models / "omega-vlm")
    models.chmod(0o755)
    _open_to_the_containers_user(home)
    tools = go_tools.ensure(["kubectl", "helm"])
    reader = Reader(
        {
            **os.environ,
            "PATH": f"{_docker(home)}:{tools}:{os.environ['PATH']}",
            "KUBECONFIG": str(kubeconfig),
            "REGISTRY": "localhost",
            "TAG": "readme",
            "API_KEY": KEY,
            "MODELS": str(models),
        }
    )
    cluster.kubectl("create", "namespace", namespace)
    subprocess.run(
        ["kubectl", "config", "set-context", "--current", f"--namespace={namespace}"],
        env=reader.environment, check=True, capture_output=True,
    )  # fmt: skip
    with _definition(cluster.kubectl):
        try:
            yield reader
        finally:
            while reader.background:
                reader.end()
            cluster.kubectl("delete", "namespace", namespace, "--wait=false")
            subprocess.run(
                ["helm", "uninstall", "omega-vlm", "--namespace", "omega-system", "--ignore-not-found", "--wait"],
                env=reader.environment, check=True, capture_output=True,
            )  # fmt: skip
            cluster.kubectl("delete", "namespace", "omega-system", "--ignore-not-found")


def _open_to_the_containers_user(home: Path) -> None:
    """Pytest's directories are for root only, and the container's user is another."""
    for directory in (home, *home.parents):
        if directory.is_relative_to("/tmp") and directory != Path("/tmp"):
            directory.chmod(0o755)


class _definition:  # noqa: N801 - a context manager
    """Lends the chart the definition that other tests of this session put there, and puts things back.

    What the chart brought goes with it, unless somebody else installed a chart meanwhile.
    """

    OWNER = ("meta.helm.sh/release-name", "meta.helm.sh/release-namespace", "helm.sh/resource-policy")
    LABEL = "app.kubernetes.io/managed-by"

    def __init__(self, kubectl: Callable[..., str]) -> None:
        self._kubectl = kubectl

    def __enter__(self) -> None:
        self._was_there = bool(self._kubectl("get", "crd", DEFINITION, "--ignore-not-found", "--output=name"))
        if self._was_there:
            owner = [f"{self.OWNER[0]}=omega-vlm", f"{self.OWNER[1]}=omega-system"]
            self._kubectl("annotate", "--overwrite", "crd", DEFINITION, *owner)
            self._kubectl("label", "--overwrite", "crd", DEFINITION, f"{self.LABEL}=Helm")

    def __exit__(self, *_: object) -> None:
        if self._was_there:
            self._kubectl("annotate", "crd", DEFINITION, *(f"{name}-" for name in self.OWNER))
            self._kubectl("label", "crd", DEFINITION, f"{self.LABEL}-")
        elif not self._kubectl("get", "secrets", "--all-namespaces", "--selector=owner=helm", "--output=name"):
            self._kubectl("delete", "crd", DEFINITION, "--ignore-not-found")


def _docker(home: Path) -> Path:
    """A directory with a `docker`, as the module's docstring says."""
    host_packages.ensure({"podman": "podman"})
    store = f'[storage]\ndriver = "overlay"\ngraphroot = "{home}/images"\nrunroot = "{home}/run"\n'
    (home / "storage.conf").write_text(f'{store}[storage.options]\nadditionalimagestores = ["{buildah.STORE}"]\n')
    # podman would ask for more than this process may give.
    limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    given = [f'"{name}={(most := min(resource.getrlimit(kind)[1], 4096))}:{most}"' for name, kind in limits.items()]
    engine = '[engine]\ncgroup_manager = "cgroupfs"\nruntime = "runc"\nevents_logger = "file"\n'
    (home / "containers.conf").write_text(f"[containers]\ndefault_ulimits = [{', '.join(given)}]\n{engine}")
    program = home / "bin/docker"
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/bash
set -euo pipefail
command=$1
shift
case $command in
build)
    [ "$1" = -f ] && [ "$3" = -t ] && [ "$5" = . ] && [ $# = 5 ]
    exec {sys.executable} tools/cluster build-image "$2" "$4" ;;
run)
    export CONTAINERS_CONF={home}/containers.conf CONTAINERS_STORAGE_CONF={home}/storage.conf
    exec podman run --rm --no-healthcheck --network host "$@" ;;
esac
exit 2
"""
    )
    program.chmod(0o755)
    return program.parent


def fetch(path: str, key: str | None = None, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of what README.md's address answers; status 0 if nobody does."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(ADDRESS + path, data, headers), timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, None


def wait_for(holds: Callable[[], bool], seconds: float, process: subprocess.Popen[str]) -> None:
    """Wait until something holds, while a process lives."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, process.communicate()[0][-4000:]
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.2)


def test_images_are_built(reader: Reader) -> None:
    """Both images, and the demo model's."""
    reader.type("docker build", seconds=3600)


def test_the_chart_is_installed(reader: Reader) -> None:
    """Helm installs the operator, and it comes up."""
    assert "successfully rolled out" in reader.type("helm upgrade --install")


def test_the_cluster_explains_the_fields(reader: Reader) -> None:
    """Kubectl explain speaks of the very fields that README.md speaks of."""
    told = reader.type("kubectl explain")
    assert "maxPerRequest" in told
    assert "allowedHosts" in told


def test_the_resource_of_the_page_is_taken(reader: Reader) -> None:
    """The API server accepts the resource that README.md explains."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    command = ["kubectl", "apply", "--dry-run=server", "-f", "-"]
    done = subprocess.run(command, env=reader.environment, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_model_is_declared(reader: Reader) -> None:
    """The demo's resource becomes Ready, and says so in its column."""
    line = reader.type('sed "s|localhost/|').splitlines()[-1]
    assert line.split()[0] == "omega-demo"
    assert "Ready" in line.split()


def _pods(reader: Reader) -> list[dict[str, Any]]:
    command = ["kubectl", "get", "pods", "--output=json"]
    done = subprocess.run(command, env=reader.environment, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return found


def test_limits_change_while_it_runs(reader: Reader) -> None:
    """The pods after the patch are those before it, and none has restarted."""
    before = [pod["metadata"]["uid"] for pod in _pods(reader)]
    assert "condition met" in reader.type("kubectl patch ovlm omega-demo")
    after = _pods(reader)
    assert [pod["metadata"]["uid"] for pod in after] == before
    assert [status["restartCount"] for pod in after for status in pod["status"]["containerStatuses"]] == [0]


def test_keys_are_set(reader: Reader) -> None:
    """A Secret and a patch later the resource is Ready again."""
    assert "condition met" in reader.type("kubectl create secret")


def test_the_python_client_gets_an_answer(reader: Reader) -> None:
    """Through the port-forward, the official client streams what the demo model sees, and nobody gets in without a key."""
    process = reader.start("kubectl port-forward")
    wait_for(lambda: fetch("/ready")[0] == 200, 60, process)
    assert fetch("/v1/models")[0] == 401
    said = reader.type("import base64")
    entries = json.loads((ROOT / "demo/pictures/questions.json").read_text())
    (entry,) = (entry for entry in entries if entry["file"] == "04-describe.png")
    assert said.strip() == entry["answer"]


def test_curl_gets_an_answer(reader: Reader) -> None:
    """And so does curl; then the port-forward ends."""
    (choice,) = json.loads(reader.type("curl"))["choices"]
    assert choice["message"]["content"]
    reader.end()


def test_the_server_runs_alone(reader: Reader) -> None:
    """In a container, with the original server's flags and variables."""

    def without_gpus(text: str) -> str:
        assert text.count("--gpus all ") == 1
        return text.replace("--gpus all ", "--env DEVICE=cpu ")

    wait_for_silence()
    process = reader.start("docker run", without_gpus)
    wait_for(lambda: fetch("/ready")[0] == 200, 180, process)
    status, health = fetch("/health", KEY)
    assert (status, len(health["engines"]), health["model"]["device"]) == (200, 2, "cpu")
    assert (health["vlm_config"]["max_batch_size"], health["vlm_config"]["max_model_length"]) == (2, 2048)
    assert fetch("/health")[0] == 401
    status, answer = fetch("/v1/chat/completions", KEY, {"messages": [{"role": "user", "content": "Hello"}]})
    assert status == 200, answer
    assert "Finished server process" in reader.end()


def wait_for_silence() -> None:
    """Wait until nobody listens at README.md's address."""
    for _ in range(100):
        if fetch("/ready")[0] == 0:
            return
        time.sleep(0.1)
    pytest.fail(f"somebody else answers at {ADDRESS}")


def test_no_block_is_left_out() -> None:
    """Each block that names this file begins like one that a test above runs."""
    typed = re.findall(r"reader\.(?:type|start)\((['\"])(.+?)\1", Path(__file__).read_text())
    for language, text in blocks():
        assert sum(text.startswith(beginning) for _, beginning in typed) == 1, (language, text)
