"""The Grafana dashboards: of metrics that exist, and as the chart hands them on."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from omega_operator.metrics import Metrics as OperatorMetrics
from omega_operator.metrics import Now
from omega_server.metrics import Metrics as ServerMetrics

FILES = sorted((Path(__file__).parents[2] / "charts/omega-vlm/dashboards").glob("*.json"))
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",), "info": ("",)}

Render = Callable[..., list[dict[str, Any]]]
Pick = Callable[[list[dict[str, Any]], str], dict[str, Any]]


def exposed() -> Iterator[str]:
    """The name of every series of operator and server."""
    operator = OperatorMetrics()
    operator.follow(Now(lambda: 0.0, lambda: 0.0, lambda: 0.0, lambda: True, dict), workers=1)
    texts = (operator.text(), ServerMetrics(lambda: ()).text())
    for text in texts:
        for family in text_string_to_metric_families(text.decode()):
            yield from (family.name + suffix for suffix in SUFFIXES[family.type])


def queries(dashboard: dict[str, Any]) -> Iterator[str]:
    """All PromQL of a dashboard: of its panels and of its variables."""
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (one["definition"] for one in dashboard["templating"]["list"] if one["type"] == "query")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_panels_show_metrics_that_exist(file: Path) -> None:
    """Each name in a query is one that operator or server exposes, with the suffix of its type."""
    known = set(exposed())
    for query in queries(json.loads(file.read_text())):
        names = set(re.findall(r"\b(?:omega|process)_\w+", query))
        assert names, query
        assert names <= known, query


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_panels_explain_themselves(file: Path) -> None:
    """Each panel has a title of its own, a sentence and a unit; none lies over another."""
    panels = [one for one in json.loads(file.read_text())["panels"] if one["type"] != "row"]
    assert len({one["title"] for one in panels}) == len(panels) > 3
    assert all(one["description"].endswith(".") and one["fieldConfig"]["defaults"]["unit"] for one in panels)
    assert len({(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels}) == len(panels)


def test_the_chart_hands_them_to_grafana(render: Render, pick: Pick) -> None:
    """When asked for, a ConfigMap with the sidecar's label has each of them as it is; otherwise there is none."""
    assert "ConfigMap" not in {one["kind"] for one in render()}
    values = {"enabled": True, "namespace": "monitoring", "annotations": {"grafana_folder": "Omega"}}
    made = pick(render(dashboards=values), "ConfigMap")
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert made["metadata"]["namespace"] == "monitoring"
    assert made["metadata"]["annotations"] == {"grafana_folder": "Omega"}
    assert made["data"] == {f"omega-vlm-{file.name}": file.read_text() for file in FILES}
