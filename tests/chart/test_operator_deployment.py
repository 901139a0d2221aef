"""The operator's own Deployment."""

from collections.abc import Callable
from typing import Any

import pytest

from omega_operator.settings import Settings

Render = Callable[..., list[dict[str, Any]]]
Pick = Callable[[list[dict[str, Any]], str], dict[str, Any]]


def pod_of(manifests: list[dict[str, Any]], pick: Pick) -> dict[str, Any]:
    """The pod's spec."""
    spec: dict[str, Any] = pick(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def test_it_can_do_as_little_as_possible(render: Render, pick: Pick) -> None:
    """No root, no writable root file system, no capability, no privilege, a limit of memory."""
    pod = pod_of(render(), pick)
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"] == "256Mi"


def test_the_operator_understands_its_environment(render: Render, pick: Pick) -> None:
    """The variables that the chart sets are the settings that the operator reads."""
    [container] = pod_of(
        render(
            watchNamespaces=["vision", "audio"],
            metricsNamespaces=["monitoring", "keda"],
            serverImage={"repository": "registry.example.com/server", "tag": "7"},
            logLevel="debug",
            logFormat="text",
            probePort=9000,
        ),
        pick,
    )["containers"]
    fields = {"metadata.name": "omega-vlm-0", "metadata.namespace": "omega-system"}
    environment = {
        variable["name"]: variable.get("value") or fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        for variable in container["env"]
    }
    assert set(environment) == {name.upper() for name in Settings.model_fields} - {"VERSION"}
    settings = Settings.of(environment)
    assert settings.watch_namespaces == ("vision", "audio")
    assert settings.metrics_namespaces == ("monitoring", "keda")
    assert settings.server_image == "registry.example.com/server:7"
    assert (settings.log_level, settings.log_format) == ("debug", "text")
    assert settings.pod_namespace == "omega-system"
    assert [port["containerPort"] for port in container["ports"]] == [settings.probe_port] == [9000]


@pytest.mark.parametrize(
    ("values", "kept"), [({}, True), ({"tag": "7"}, False), ({"digest": f"sha256:{'0' * 64}"}, False)], ids=str
)
def test_only_a_server_image_that_is_named_reaches_what_runs(
    render: Render, pick: Pick, values: dict[str, str], kept: bool
) -> None:
    """The chart's own version is for new resources; a tag or digest that somebody wrote down is for all."""
    [container] = pod_of(render(serverImage=values), pick)["containers"]
    environment = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    assert Settings.of(environment).keep_server_image is kept


def test_probes_ask_the_operator(render: Render, pick: Pick) -> None:
    """Liveness asks for stale watches, readiness for the start; both on the port that it listens on."""
    [container] = pod_of(render(), pick)["containers"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "probes"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "probes"}


def test_a_slow_start_is_not_a_failure(render: Render, pick: Pick) -> None:
    """Liveness counts only from the first answer on, for which a busy node gets minutes."""
    probe = pod_of(render(), pick)["containers"][0]["startupProbe"]
    assert probe["httpGet"] == {"path": "/healthz", "port": "probes"}
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 120


def test_labels_that_network_policies_ask_for(render: Render, pick: Pick) -> None:
    """The operator's pods have the labels that the servers' NetworkPolicies let in, whatever the release is called."""
    labels = pick(render(fullnameOverride="another"), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "omega-vlm"
    assert labels["app.kubernetes.io/component"] == "operator"


def test_a_digest_wins_over_a_tag(render: Render, pick: Pick) -> None:
    """An image that is pinned by its digest is used by its digest."""
    digest = f"sha256:{'0' * 64}"
    [container] = pod_of(render(image={"tag": "1", "digest": digest}), pick)["containers"]
    assert container["image"] == f"omega-vlm-operator@{digest}"


def test_values_are_passed_through(render: Render, pick: Pick) -> None:
    """What a cluster's owner sets for the operator's pod arrives there."""
    values: dict[str, Any] = {
        "podLabels": {"team": "vision"},
        "podAnnotations": {"note": "yes"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "control", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "imagePullSecrets": ["registry"],
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com"}],
        "replicas": 2,
    }
    deployment = pick(render(**values), "Deployment")
    template = deployment["spec"]["template"]
    assert deployment["spec"]["replicas"] == 2
    assert template["metadata"]["labels"]["team"] == "vision"
    assert template["metadata"]["annotations"] == {"note": "yes"}
    assert values["env"][0] in template["spec"]["containers"][0]["env"]
    assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert template["spec"][field] == values[field]


def test_the_metrics_service_finds_the_port(render: Render, pick: Pick) -> None:
    """The Service is made when asked for, selects the operator's pods and names a port that they have."""
    assert not [manifest for manifest in render() if manifest["kind"] == "Service"]
    manifests = render(metrics={"service": {"enabled": True}})
    service = pick(manifests, "Service")
    template = pick(manifests, "Deployment")["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_maintenance_takes_one_of_several(render: Render, pick: Pick) -> None:
    """With two replicas there is a PodDisruptionBudget of the operator's pods; with one it would only be in the way."""
    kinds = [
        [one["kind"] for one in render(**values)]
        for values in ({}, {"replicas": 2, "podDisruptionBudget": {"enabled": False}})
    ]
    assert all("PodDisruptionBudget" not in one for one in kinds)
    manifests = render(replicas=2)
    budget, template = pick(manifests, "PodDisruptionBudget"), pick(manifests, "Deployment")["spec"]["template"]
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


def test_replicas_are_spread(render: Render, pick: Pick) -> None:
    """On different nodes where there are some; a constraint of the cluster's owner counts the operator's pods unless it says more."""
    manifests = render()
    labels = pick(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    [spread] = pod_of(manifests, pick)["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
    zones = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    others = zones | {"labelSelector": {"matchLabels": {"team": "vision"}}}
    own = pod_of(render(topologySpreadConstraints=[zones, others]), pick)["topologySpreadConstraints"]
    assert own == [zones | {"labelSelector": spread["labelSelector"]}, others]


def test_the_cluster_may_choose_the_user(render: Render, pick: Pick) -> None:
    """Ids that are set to null are left to the cluster; the rest of the security context stays."""
    context = pod_of(render(podSecurityContext={"runAsUser": None, "runAsGroup": None, "fsGroup": None}), pick)
    assert context["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_prometheus_finds_the_operator(render: Render, pick: Pick) -> None:
    """The PodMonitor is made when asked for, selects the operator's pods and names a port that they have."""
    assert not [manifest for manifest in render() if manifest["kind"] == "PodMonitor"]
    manifests = render(
        metrics={"podMonitor": {"enabled": True, "interval": "30s", "labels": {"release": "prometheus"}}}
    )
    monitor, template = pick(manifests, "PodMonitor"), pick(manifests, "Deployment")["spec"]["template"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "probes", "path": "/metrics", "interval": "30s"}
    assert endpoint["port"] in {port["name"] for port in template["spec"]["containers"][0]["ports"]}
