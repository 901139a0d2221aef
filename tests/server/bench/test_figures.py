"""Arithmetic of percentiles and rates."""

import numpy as np
import pytest

from omega_server.bench.figures import Record, percentile, summarise


@pytest.mark.parametrize("percent", [0, 1, 50, 90, 99, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
def test_percentile_is_numpys(percent: int, count: int) -> None:
    """The linear percentile, as numpy has it."""
    values = np.random.default_rng(count).normal(size=count).tolist()
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent))


def test_percentile_of_nothing() -> None:
    """No values have no percentile, not zero."""
    assert percentile([], 50) is None


def test_summary() -> None:
    """Every figure, by hand: two answers and a failure, which counts for nothing but the time."""
    figures = summarise(
        [
            Record(sent=10.0, pieces=(10.5, 10.7, 11.0), ended=11.0, tokens=3),
            Record(sent=11.0, pieces=(12.5,), ended=12.5, tokens=4),
            Record(sent=9.0, pieces=(9.1,), ended=14.0, tokens=1, error="timeout"),
        ]
    )
    assert (figures.requests, figures.output_tokens, figures.seconds) == (2, 7, 5.0)
    assert (figures.output_tokens_per_s, figures.requests_per_s) == (7 / 5, 2 / 5)
    assert figures.ttft_p50_s == pytest.approx(1.0)
    assert figures.ttft_p99_s == pytest.approx(1.49)
    assert figures.itl_p50_s == pytest.approx(0.25)
    assert figures.itl_p99_s == pytest.approx(0.299)
    assert figures.errors == {"timeout": 1}


def test_answers_in_one_piece_have_no_gaps() -> None:
    """What comes at once was not measured between tokens."""
    figures = summarise([Record(0.0, (2.0,), 2.0, 20)])
    assert (figures.output_tokens_per_s, figures.itl_p50_s, figures.itl_p99_s) == (10.0, None, None)


def test_only_failures() -> None:
    """A load that failed has rates of zero and no times."""
    figures = summarise([Record(0.0, (), 1.0, 0, "503 not_ready")] * 3)
    assert (figures.requests, figures.output_tokens_per_s, figures.ttft_p50_s) == (0, 0.0, None)
    assert figures.errors == {"503 not_ready": 3}
