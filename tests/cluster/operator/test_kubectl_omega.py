"""kubectl omega in a cluster: it explains what the operator says, and asks servers by their resource's name."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omega_operator.kinds import RESOURCE

ROOT = Path(__file__).resolve().parents[3]
PICTURE = ROOT / "demo/pictures/04-describe.png"

Plugin = Callable[..., Any]


@pytest.fixture(scope="session")
def stand_in_api(build_stand_in: Callable[[str], str]) -> str:
    """The image of a stand-in server that can be asked."""
    return build_stand_in("stand_in_api.py")


@pytest.fixture
def plugin(cluster: Any, kubeconfig: Path, namespace: str, tmp_path: Path) -> Plugin:
    """Runs the plugin as kubectl does, in the test's namespace: exit code, standard output, standard error."""

    def run(*arguments: str, **variables: str) -> tuple[int, str, str]:
        environment = {
            "PYTHONPATH": str(ROOT / "server"),
            "PATH": f"{cluster.kubectl_path.parent}:/usr/bin:/bin",
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(tmp_path),
        }
        command, *rest = arguments
        program = [sys.executable, "-W", "error", "-m", "omega_server.kubectl", command, "-n", namespace, *rest]
        done = subprocess.run(
            program, env=environment | variables, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout, done.stderr

    async def wait(*arguments: str, **variables: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(run, *arguments, **variables)

    return wait


async def test_a_server_that_ends_is_explained(world: Any, stand_in: str, plugin: Plugin) -> None:
    """It tells the cause, what to do about just these words, the pod, and its server's last line."""
    words = "/models/x is not a checkpoint: it is no directory with a config.json"
    await world.serve(stand_in, pod={"env": [{"name": "END_WITH", "value": words}]})
    await world.until_condition("Stalled", "True", "ServerFailed", seconds=60)
    for _ in range(30):
        # While it is started once more it is only not ready; the kubelet lets it rest longer each time.
        code, out, err = await plugin("why", "vl")
        flat = " ".join(out.split())
        assert (code, err) == (0, "")
        if f"vl in {world.namespace}: Stalled is True for" in flat:
            break
        await asyncio.sleep(1)
    else:
        pytest.fail(out)
    assert "reason ServerFailed" in flat
    assert "relative to the volume's root" in flat
    assert f"its last words: {words}" in flat
    for _ in range(30):
        code, out, _ = await plugin("status")
        assert code == 0
        if "ServerFailed" in out.splitlines()[1]:
            break
        await asyncio.sleep(1)
    else:
        pytest.fail(out)
    code, _, err = await plugin("chat", "vl", "Hello?")
    assert (code, err) == (1, "omega: no pod of vl is ready: kubectl omega why vl says why\n")


async def test_a_pod_without_a_node_is_explained(world: Any, plugin: Plugin) -> None:
    """It quotes the scheduler's event of a pod that no node takes."""
    await world.create(replicas=1, gpu={"device": "cpu"}, pod={"nodeSelector": {"there": "is-none"}})
    await world.until_condition("Stalled", "True", "Unschedulable", seconds=60)
    code, out, _ = await plugin("why", "vl")
    assert code == 0
    assert "on no node: Pending" in out
    assert "FailedScheduling" in out


async def test_servers_are_asked_by_name(
    world: Any, stand_in_api: str, plugin: Plugin, kubectl: Callable[..., str]
) -> None:
    """chat, bench and top reach the pods with a key of the resource's Secret, and say so if the key is wrong."""
    literals = ("--from-literal=team=key-of-team", "--from-literal=prometheus=key-of-prometheus")
    kubectl("--namespace", world.namespace, "create", "secret", "generic", "keys", *literals)
    await world.serve(stand_in_api, replicas=2, auth={"secretRef": {"name": "keys"}})
    await world.until_condition("Ready", "True", "Ready", seconds=90)

    code, out, err = await plugin("chat", "vl", str(PICTURE), "What is this?")
    assert (code, out) == (0, "1 pictures: What is this?\n")
    assert "one of 2 replicas" in err
    code, out, err = await plugin("chat", "vl", "Hello?", OMEGA_API_KEY="another")
    assert (code, out) == (2, "")
    assert "not a key of this server (401, invalid_api_key)" in err

    code, out, _ = await plugin("top", "--seconds", "0.1")
    head, *pods, total = out.splitlines()
    assert code == 0
    assert head.split()[:4] == ["RESOURCE", "POD", "NODE", "STATE"]
    assert [line.split()[5:8] for line in pods] == [["1/1", "2", "1"]] * 2
    assert total.split()[:5] == ["all", "0", "2/2", "4", "2"]

    code, out, _ = await plugin("bench", "vl", "--requests", "3")
    assert code == 0
    assert "3 of 3 requests" in out

    code, out, _ = await plugin("status", "vl")
    assert code == 0
    for text in (
        f"vl in {world.namespace}",
        stand_in_api,
        "Ready",
        "ConfigApplied",
        f"http://vl.{world.namespace}.svc",
    ):
        assert text in out


async def test_what_does_not_exist(world: Any, plugin: Plugin, tmp_path: Path) -> None:
    """A name, a context, a file that is not there: exit code 2 or 1, and one line that says what to do."""
    code, out, err = await plugin("why", "nobody")
    assert (code, out) == (2, "")
    assert err == "omega: there is no OmegaVLMDeployment nobody here: kubectl omega status -A shows all of them\n"
    code, out, _ = await plugin("status")
    assert (code, out) == (0, "There are no OmegaVLMDeployments in this namespace.\n")
    code, _, err = await plugin("status", "--context", "nowhere")
    assert (code, err.count("\n")) == (2, 1)
    assert "nowhere" in err
    nobody = tmp_path / "kubeconfig"
    nobody.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}],"
        " clusters: [{name: k, cluster: {server: 'http://127.0.0.1:9'}}], users: [{name: u, user: {}}]}"
    )
    code, _, err = await plugin("status", "--kubeconfig", str(nobody))
    assert (code, err.count("\n")) == (1, 1)
    assert "refused" in err


async def test_what_nobody_has_seen(api: Any, definition: None, namespace: str, plugin: Plugin) -> None:
    """Without an operator a resource has no status, and why says where to look."""
    body = {
        "apiVersion": RESOURCE.api_version,
        "kind": RESOURCE.name,
        "metadata": {"name": "vl", "namespace": namespace},
        "spec": {"model": {"source": "path:///model"}},
    }
    await api.request("POST", RESOURCE.path(namespace), body=body)
    code, out, _ = await plugin("why", "vl")
    assert code == 0
    assert "has no status" in out
    assert "app.kubernetes.io/component=operator" in out
