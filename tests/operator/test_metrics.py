"""The operator's metrics, under the names that docs/metrics.md promises."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from omega_operator.metrics import PREFIX, Metrics, Now

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def metrics() -> Metrics:
    """Of an operator that leads."""
    made = Metrics()
    now = Now(
        waiting=lambda: 3.0, overdue=lambda: 0.0, longest=lambda: 0.0, leads=lambda: True, ages=lambda: {"Pod": 7.0}
    )
    made.follow(now, workers=8)
    return made


def test_every_name_is_documented() -> None:
    """The document has each of our names with its type and labels, and no other."""
    shown = {family.name: family for family in text_string_to_metric_families(metrics().text().decode())}
    ours = {
        name + ("_total" if one.type == "counter" else ""): one.type
        for name, one in shown.items()
        if name.startswith(PREFIX) and not name.endswith("_created")
    }
    rows = re.findall(rf"^\| `({PREFIX}_\w+)` \| (\w+) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert dict(rows) == ours


def test_values() -> None:
    """What happened is counted under its labels."""
    made = metrics()
    made.reconciled(made.failed("no_answer"), 0.5)
    made.applied(1.5)
    made.applied(None)
    made.requested("GET", "200", 0.01)
    made.wrote("Service", "apply", "ok")
    made.repaired("Pod")
    text = made.text().decode()
    for line in (
        'omega_operator_reconcile_total{result="error"} 1.0',
        'omega_operator_reconcile_errors_total{reason="no_answer"} 1.0',
        "omega_operator_change_to_applied_seconds_count 1.0",
        'omega_operator_rest_client_requests_total{code="200",method="GET"} 1.0',
        'omega_operator_writes_total{kind="Service",outcome="ok",verb="apply"} 1.0',
        'omega_operator_watch_repairs_total{kind="Pod"} 1.0',
        'omega_operator_watch_age_seconds{kind="Pod"} 7.0',
        "omega_operator_workqueue_depth 3.0",
        'omega_operator_leader_election_master_status{name="omega-operator"} 1.0',
    ):
        assert line in text, line
