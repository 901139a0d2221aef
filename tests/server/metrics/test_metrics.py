"""What is measured is what docs/metrics.md says, and adds up."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from omega_server.metrics import RECENT_SECONDS, LongestBlock, Metrics

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"


@dataclass(frozen=True)
class Load:
    """An engine."""

    index: int
    state: str = "ready"
    running: int = 0
    waiting: int = 0
    kv_blocks_used: int = 0
    kv_blocks_total: int = 100
    kv_block_size: int = 16
    preemptions: int = 0
    vision_queries: int = 0
    vision_hits: int = 0
    restarts: int = 0
    memory_bytes: int = 0


def written() -> set[tuple[str, str, tuple[str, ...]]]:
    """Name, type and labels of each metric in the document, but for those of the operator, which its own tests look at."""
    rows = re.findall(r"^\| `(omega_(?!operator_)\w+)` \| (\w+) \|([^|]*)\|", DOCS.read_text(), re.MULTILINE)
    return {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def shown(metrics: Metrics) -> set[tuple[str, str, tuple[str, ...]]]:
    """The same of what is served, read from its text."""
    found: dict[str, set[str]] = {}
    kinds = {}
    for line in metrics.text().decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            if not name.endswith("_created"):
                kinds[name] = kind
        elif not line.startswith("#"):
            sample = re.match(r"(\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? ", line)
            assert sample
            found.setdefault(sample[1], set()).update(re.findall(r"(\w+)=", sample[2] or ""))
    return {
        (name, "info" if name.endswith("_info") else kind, tuple(sorted(found[name] - {"le"})))
        for name, kind in kinds.items()
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """Of one sample."""
    found = metrics.registry.get_sample_value(name, labels)
    assert found is not None, name
    return found


def test_the_document_is_true() -> None:
    """Each metric that is served is in the document with its type and labels, and each in the document is served."""
    metrics = Metrics(lambda: (Load(0), Load(1)))
    metrics.success.labels("stop")
    metrics.responses.labels("/live", "200")
    assert written() == shown(metrics)


def test_a_choice() -> None:
    """Its times add up, its tokens are counted, and what was cached is told."""
    metrics = Metrics(lambda: ())
    metrics.prompt(10)
    timer = metrics.timer(10)
    began = timer.began
    timer.token(began + 3, cached=4, queued=1)
    timer.token(began + 5, cached=0, queued=0)
    timer.finish(began + 5, "length")
    sums = {
        "time_to_first_token_seconds": 3,
        "request_queue_time_seconds": 1,
        "request_prefill_time_seconds": 2,
        "request_decode_time_seconds": 2,
        "e2e_request_latency_seconds": 5,
        "inter_token_latency_seconds": 2,
        "request_generation_tokens": 2,
        "request_prompt_tokens": 10,
    }
    for name, total in sums.items():
        assert value(metrics, f"omega_{name}_sum") == pytest.approx(total), name
        assert value(metrics, f"omega_{name}_count") == 1, name
    assert value(metrics, "omega_prefix_cache_queries_total") == 10
    assert value(metrics, "omega_prefix_cache_hits_total") == 4
    assert value(metrics, "omega_generation_tokens_total") == 2
    assert value(metrics, "omega_request_success_total", finished_reason="length") == 1


@pytest.mark.parametrize(("end", "reason"), [(ValueError(), "error"), (GeneratorExit(), "abort")])
def test_a_choice_that_is_not_completed(end: BaseException, reason: str) -> None:
    """A fault and a client that is gone are told apart, and neither counts as an answer's time."""
    metrics = Metrics(lambda: ())
    with pytest.raises(type(end)), metrics.timer(1).watch():
        raise end
    assert value(metrics, "omega_request_success_total", finished_reason=reason) == 1
    assert value(metrics, "omega_e2e_request_latency_seconds_count") == 0


def test_engines() -> None:
    """Each engine has its own numbers, and the gateway's are of all of them."""
    engines = (Load(0, running=2, kv_blocks_used=30), Load(1, waiting=3, kv_blocks_total=200, vision_queries=7))
    metrics = Metrics(lambda: engines)
    assert value(metrics, "omega_num_requests_running", engine="0") == 2
    assert value(metrics, "omega_num_requests_waiting", engine="1") == 3
    assert value(metrics, "omega_mm_cache_queries_total", engine="1") == 7
    assert value(metrics, "omega_total_running_requests") == 2
    assert value(metrics, "omega_total_queued_requests") == 3
    assert value(metrics, "omega_kv_cache_utilization") == pytest.approx(0.1)
    assert value(metrics, "omega_cache_config_info", block_size="16", num_gpu_blocks="300") == 1


def test_without_engines() -> None:
    """While a model is loaded there is nothing to divide by."""
    metrics = Metrics(lambda: ())
    assert value(metrics, "omega_kv_cache_utilization") == 0
    assert b"omega_cache_config_info{" not in metrics.text()


def test_the_longest_block() -> None:
    """It is the longest of the last minute, then the longest of what came after it."""
    longest = LongestBlock()

    def now() -> list[float]:
        (family,) = longest.collect()
        return [sample.value for sample in family.samples]

    assert now() == [0.0, 0.0]
    longest.note(0.0, 0.5, 0.1)
    longest.note(1.0, 0.2, 0.15)
    assert now() == [0.5, 0.15]
    longest.note(RECENT_SECONDS + 0.5, 0.01, 0.0)
    assert now() == [0.2, 0.15]
    longest.note(RECENT_SECONDS + 1.5, 0.03, 0.02)
    assert now() == [0.03, 0.02]
