"""Grafana dashboards of the operator and the servers, for the chart: the panels here, Grafana's many words around them below."""

import json
from dataclasses import dataclass
from typing import Any

COLUMNS, WIDTH, HEIGHT = 3, 8, 7
"""Of a grid that is 24 wide."""

RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """A graph.

    Attributes:
        title: what it shows.
        meaning: a sentence, shown on demand.
        unit: in Grafana's words: s, bytes, percentunit, reqps, short.
        lines: PromQL by what its lines are called.
    """

    title: str
    meaning: str
    unit: str
    lines: dict[str, str]


@dataclass(frozen=True)
class Dashboard:
    """A page of panels in groups."""

    uid: str
    title: str
    variables: dict[str, str]
    """Query by name of the variable; each may have several values at once."""
    groups: dict[str, tuple[Panel, ...]]


def _quantiles(metric: str, where: str, by: str = "") -> dict[str, str]:
    """Half, 95 and 99 of 100 observations of a histogram are below these lines."""
    sums = f"sum by (le{', ' + by if by else ''}) (rate({metric}_bucket{{{where}}}{RATE}))"
    name = f" {{{{{by}}}}}" if by else ""
    return {f"p{percent}{name}": f"histogram_quantile(0.{percent}, {sums})" for percent in (50, 95, 99)}


def _rate(metric: str, where: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{where}}}{RATE}))"


def _share(hits: str, queries: str, where: str) -> str:
    return f"sum(rate({hits}{{{where}}}{RATE})) / sum(rate({queries}{{{where}}}{RATE}))"


CHOSEN = 'namespace=~"$namespace", job=~"$job"'
"""What a scrape knows and a person picks; the same for both dashboards."""


SERVERS = Dashboard(
    uid="omega-vlm-servers",
    title="Omega VLM: servers",
    variables={
        "namespace": "label_values(omega_engine_ready, namespace)",
        "job": 'label_values(omega_engine_ready{namespace=~"$namespace"}, job)',
    },
    groups={
        "Requests": (
            Panel(
                "Requests by status",
                "499 is a client that hung up, 429 a full queue.",
                "reqps",
                {"{{status}}": _rate("omega_http_responses_total", CHOSEN, "status")},
            ),
            Panel(
                "Time to first token",
                "From the moment when a prompt is ready.",
                "s",
                _quantiles("omega_time_to_first_token_seconds", CHOSEN),
            ),
            Panel(
                "Between tokens",
                "From one token of an answer to its next.",
                "s",
                _quantiles("omega_inter_token_latency_seconds", CHOSEN),
            ),
            Panel(
                "Whole answers",
                "From a prompt that is ready to the last token.",
                "s",
                _quantiles("omega_e2e_request_latency_seconds", CHOSEN),
            ),
            Panel(
                "Time in the queue",
                "Until an engine began. If it grows, add replicas.",
                "s",
                _quantiles("omega_request_queue_time_seconds", CHOSEN),
            ),
            Panel(
                "How answers end",
                "stop and length are successes; abort is a client that hung up.",
                "reqps",
                {"{{finished_reason}}": _rate("omega_request_success_total", CHOSEN, "finished_reason")},
            ),
        ),
        "Tokens": (
            Panel(
                "Tokens per second",
                "Of prompts, pictures included, and of answers.",
                "short",
                {
                    "prompts": f"sum(rate(omega_prompt_tokens_total{{{CHOSEN}}}{RATE}))",
                    "answers": f"sum(rate(omega_generation_tokens_total{{{CHOSEN}}}{RATE}))",
                },
            ),
            Panel(
                "Answers by pod",
                "Tokens per second. Pods that differ much are not asked evenly.",
                "short",
                {"{{pod}}": _rate("omega_generation_tokens_total", CHOSEN, "pod")},
            ),
            Panel(
                "Found in caches",
                "Share of prompt tokens, and of pictures and videos, that were computed before.",
                "percentunit",
                {
                    "prompts": _share("omega_prefix_cache_hits_total", "omega_prefix_cache_queries_total", CHOSEN),
                    "pictures": _share("omega_mm_cache_hits_total", "omega_mm_cache_queries_total", CHOSEN),
                },
            ),
        ),
        "Engines": (
            Panel(
                "Running and waiting",
                "Sequences in the batches and queues of all engines.",
                "short",
                {
                    "running": f"sum(omega_num_requests_running{{{CHOSEN}}})",
                    "waiting": f"sum(omega_num_requests_waiting{{{CHOSEN}}})",
                },
            ),
            Panel(
                "Requests per engine",
                "What spec.autoscaling goes by, of each pod.",
                "short",
                {"{{pod}}": f"omega_requests_per_engine{{{CHOSEN}}}"},
            ),
            Panel(
                "KV cache",
                "Share that running sequences own, of each engine.",
                "percentunit",
                {"{{pod}} engine {{engine}}": f"omega_kv_cache_usage_perc{{{CHOSEN}}}"},
            ),
            Panel(
                "Engines",
                "How many there are, and how many take requests.",
                "short",
                {
                    "all": f"count(omega_engine_ready{{{CHOSEN}}})",
                    "ready": f"sum(omega_engine_ready{{{CHOSEN}}})",
                },
            ),
            Panel(
                "Restarts and preemptions",
                "Engines that were started again; sequences that gave up their part of the KV cache. Per hour.",
                "short",
                {
                    "restarts": f"sum(increase(omega_engine_restarts_total{{{CHOSEN}}}[1h]))",
                    "preemptions": f"sum(increase(omega_num_preemptions_total{{{CHOSEN}}}[1h]))",
                },
            ),
            Panel(
                "Memory of engines",
                "Resident, not GPU memory.",
                "bytes",
                {"{{pod}} engine {{engine}}": f"omega_engine_memory_bytes{{{CHOSEN}}}"},
            ),
        ),
        "Pictures and the event loop": (
            Panel(
                "Downloads of pictures",
                "From the address to the last byte.",
                "s",
                _quantiles("omega_mm_media_download_latency_seconds", CHOSEN),
            ),
            Panel(
                "Decoding",
                "From the bytes to the pixels, with the wait for a decoding process.",
                "s",
                _quantiles("omega_mm_media_decode_latency_seconds", CHOSEN),
            ),
            Panel(
                "Longest block of the event loop",
                "In the last minute. wall: by the clock; cpu: of that, its own computing.",
                "s",
                {"{{clock}}": f"max by (clock) (omega_event_loop_longest_block_seconds{{{CHOSEN}}})"},
            ),
        ),
    },
)

OPERATORS = Dashboard(
    uid="omega-vlm-operator",
    title="Omega VLM: operator",
    variables={
        "namespace": "label_values(omega_operator_build_info, namespace)",
        "job": 'label_values(omega_operator_build_info{namespace=~"$namespace"}, job)',
    },
    groups={
        "Work": (
            Panel(
                "From a change to its children",
                "From news of a change until the children are as they should be.",
                "s",
                _quantiles("omega_operator_change_to_applied_seconds", CHOSEN),
            ),
            Panel(
                "Reconciles by result",
                "At rest there are next to none.",
                "ops",
                {"{{result}}": _rate("omega_operator_reconcile_total", CHOSEN, "result")},
            ),
            Panel(
                "Time of a reconcile",
                "With everything that the API server was asked.",
                "s",
                _quantiles("omega_operator_reconcile_time_seconds", CHOSEN),
            ),
            Panel(
                "Errors",
                "Reconciles that failed, by why. defect: the log has a traceback.",
                "ops",
                {"{{reason}}": _rate("omega_operator_reconcile_errors_total", CHOSEN, "reason")},
            ),
            Panel(
                "Queue",
                "Resources in it, with those that are to be looked at again later.",
                "short",
                {"{{pod}}": f"omega_operator_workqueue_depth{{{CHOSEN}}}"},
            ),
            Panel(
                "Oldest in the queue",
                "For how long the oldest resource has been due or worked on. Above 120 s the operator is started again.",
                "s",
                {"{{pod}}": f"omega_operator_workqueue_overdue_seconds{{{CHOSEN}}}"},
            ),
        ),
        "The API server": (
            Panel(
                "Requests by code",
                "<error> is no answer; 409 and 429 are tried again.",
                "reqps",
                {"{{code}}": _rate("omega_operator_rest_client_requests_total", CHOSEN, "code")},
            ),
            Panel(
                "Time of a request",
                "Until its answer.",
                "s",
                _quantiles("omega_operator_rest_client_request_duration_seconds", CHOSEN),
            ),
            Panel(
                "Writes by kind",
                "Without the Lease. At rest there are none.",
                "ops",
                {"{{kind}} {{outcome}}": _rate("omega_operator_writes_total", CHOSEN, "kind, outcome")},
            ),
        ),
        "Health": (
            Panel(
                "Age of watches",
                "Since a watch was last known to have brought everything; up to 40 s is usual.",
                "s",
                {"{{kind}}": f"max by (kind) (omega_operator_watch_age_seconds{{{CHOSEN}}})"},
            ),
            Panel(
                "Leader",
                "1 for the replica that writes; the sum is never above 1.",
                "short",
                {"{{pod}}": f"omega_operator_leader_election_master_status{{{CHOSEN}}}"},
            ),
            Panel(
                "Memory",
                "Resident, of each replica.",
                "bytes",
                {"{{pod}}": f"process_resident_memory_bytes{{{CHOSEN}}}"},
            ),
        ),
    },
)

ALL = {"operator.json": OPERATORS, "servers.json": SERVERS}


def files() -> dict[str, str]:
    """Text by the name of the file."""
    return {name: json.dumps(_dashboard(one), indent=2) + "\n" for name, one in ALL.items()}


def _dashboard(one: Dashboard) -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    top = 0
    for title, group in one.groups.items():
        panels.append(
            {"type": "row", "title": title, "collapsed": False, "gridPos": _place(top, 0, 24, 1), "panels": []}
        )
        top += 1
        for index, panel in enumerate(group):
            row, column = divmod(index, COLUMNS)
            panels.append(_panel(panel, _place(top + row * HEIGHT, column * WIDTH, WIDTH, HEIGHT)))
        top += -(-len(group) // COLUMNS) * HEIGHT
    return {
        "uid": one.uid,
        "title": one.title,
        "tags": ["omega-vlm"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_SOURCE, *(_variable(name, query) for name, query in one.variables.items())]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }


_SOURCE = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
_PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": _PROMETHEUS,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.meaning,
        "gridPos": place,
        "datasource": _PROMETHEUS,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _PROMETHEUS, "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(panel.lines.items())
        ],
    }


def _place(top: int, left: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}
