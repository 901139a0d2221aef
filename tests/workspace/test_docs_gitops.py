"""The health check that we ship for Argo CD, run by a real Lua over statuses that the operator writes."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import host_packages
from cluster.shell import ClusterError
from omega_operator import causes
from omega_operator.causes import Cause
from omega_operator.desired import desired
from omega_operator.kinds import Manifest, ref_of
from omega_operator.observed import Observed
from omega_operator.settings import Settings
from omega_operator.status import invalid, status
from omega_schema.resource import OmegaVLMDeployment

ROOT = Path(__file__).parents[2]
NOW = datetime(2030, 1, 2, tzinfo=UTC)
KEY = "resource.customizations.health.omegavlm.io_OmegaVLMDeployment"

Json = dict[str, Any]


@pytest.fixture(scope="module")
def lua() -> str:
    """Lua 5.1, the language of Argo CD's checks; on Debian it is installed if it is missing."""
    try:
        host_packages.ensure({"lua5.1": "lua5.1"})
    except ClusterError as error:
        pytest.skip(str(error))
    return "lua5.1"


@pytest.fixture(scope="module")
def script() -> str:
    """The check, as Argo CD reads it from its settings."""
    body: str = yaml.safe_load((ROOT / "docs/gitops/argocd-cm.yaml").read_text())["data"][KEY]
    return body


def resource(**spec: Any) -> OmegaVLMDeployment:
    """A resource of generation 3."""
    head = {"name": "vl", "namespace": "vision", "uid": "uid-1", "generation": 3}
    spec = {"model": {"source": "path:///model"}} | spec
    return OmegaVLMDeployment.model_validate(
        {"apiVersion": "omegavlm.io/v1alpha1", "kind": "OmegaVLMDeployment", "metadata": head, "spec": spec}
    )


SETTINGS = Settings(server_image="omega-server:1", pod_name="operator-0")


def written(wanted: OmegaVLMDeployment, observed: Observed, cause: Cause | None = None) -> Json:
    """The status that the operator writes."""
    return status(wanted, observed, desired(wanted, observed, SETTINGS), cause, {})


def rolled_out(replicas: int) -> Observed:
    """A Deployment whose pods are all there and available."""
    template = desired(resource(), Observed(), SETTINGS).way.template
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    heads = [template["metadata"] | {"name": f"p{index}"} for index in range(replicas)]
    pods = tuple({"metadata": head, "spec": {"nodeName": "n"}, "status": ready} for head in heads)
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), replicas)
    deployment: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "vl", "generation": 1},
        "spec": {"replicas": replicas, "template": template},
        "status": {"observedGeneration": 1, **counts},
    }
    return Observed(children={ref_of(deployment): deployment}, pods=pods, at=NOW)


def judge(lua: str, script: str, generation: int, found: Json | None) -> tuple[str, str]:
    """What Argo CD would show: health and message."""
    obj = {"metadata": {"generation": generation}} | ({} if found is None else {"status": found})
    program = f"obj = {_literal(obj)}\nlocal function check()\n{script}\nend\nlocal found = check()\n"
    program += 'io.write(found.status, "\\n", found.message or "")'
    done = subprocess.run([lua, "-"], input=program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    health, _, message = done.stdout.partition("\n")
    return health, message


def _literal(value: Any) -> str:
    """A JSON value as Lua source."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{json.dumps(key)}] = {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(_literal, value)) + "}"
    return json.dumps(value, ensure_ascii=False)


def test_a_new_resource_is_in_progress(lua: str, script: str) -> None:
    """No status, or the very first one: Progressing."""
    assert judge(lua, script, 3, None)[0] == "Progressing"
    assert judge(lua, script, 3, {})[0] == "Progressing"
    health, message = judge(lua, script, 3, written(resource(), Observed(at=NOW)))
    assert (health, "are starting" in message) == ("Progressing", True)


def test_ready_is_healthy(lua: str, script: str) -> None:
    """All pods there, or none wanted: Healthy; anything else would keep the later waves of a sync waiting."""
    assert judge(lua, script, 3, written(resource(), rolled_out(1)))[0] == "Healthy"
    assert judge(lua, script, 3, written(resource(replicas=0), rolled_out(0)))[0] == "Healthy"


def test_stalled_is_degraded_and_says_what_to_do(lua: str, script: str) -> None:
    """A cause, or a resource that cannot be read: Degraded, with the operator's words."""
    wanted = resource(gpu={"count": 4, "tensorParallel": 2}, model={"source": "path:///model", "quantization": "int8"})
    told = written(wanted, Observed(at=NOW), causes.refusal(wanted))
    health, message = judge(lua, script, 3, told)
    assert (health, message.startswith("Unsupported: ")) == ("Degraded", True)
    assert "spec.gpu.tensorParallel to 1" in message
    assert judge(lua, script, 7, invalid(7, "spec.gpu.count: must be of type integer", told, NOW))[0] == "Degraded"


def test_what_was_true_before_a_change_does_not_count(lua: str, script: str) -> None:
    """A status of an older generation is Progressing, be it Ready or Stalled; so is a condition of an older one."""
    ready = written(resource(), rolled_out(1))
    stalled = written(resource(), Observed(at=NOW), Cause("SecretMissing", "create it"))
    assert judge(lua, script, 4, ready)[0] == "Progressing"
    assert judge(lua, script, 4, stalled)[0] == "Progressing"
    assert judge(lua, script, 4, ready | {"observedGeneration": 4})[0] == "Progressing"
