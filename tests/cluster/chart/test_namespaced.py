"""The chart in a cluster, for one namespace and with no right outside it."""

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.alone

CHART = Path(__file__).parents[3] / "charts/omega-vlm"


def test_it_works_without_a_cluster_role(release: Any) -> None:
    """With rbac.clusterRole=false the operator serves its namespace, and neither may nor does look at what is the cluster's."""
    release.install(CHART, rbac={"clusterRole": False}, replicas=2)
    release.serve()
    release.limit(3)
    account = f"system:serviceaccount:{release.system}:{release.name}-omega-vlm"
    assert release.may(account, "list", "pods", "--namespace", release.models)
    for what in (["nodes"], ["namespaces"], ["pods", "--all-namespaces"], ["secrets", "--namespace", release.models]):
        assert not release.may(account, "list", *what), what
    said = release.kubectl("--namespace", release.system, "logs", f"deployment/{release.name}-omega-vlm", "--all-pods")
    assert "forbidden" not in said, "it asks again and again for what it may not have"
