"""Sizes and durations."""

import pytest
from pydantic import TypeAdapter, ValidationError

from omega_schema.quantity import Duration, Quantity, bytes_of, seconds_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        (1048576, 1048576),
        ("20Mi", 20 * 1024**2),
        ("1Ki", 1024),
        ("1k", 1000),
        ("1.5Gi", 3 * 2**29),
        ("100M", 100_000_000),
        ("2Ti", 2 * 1024**4),
        ("1P", 10**15),
        ("1500m", 1),
    ],
)
def test_bytes(text: str | int, size: int) -> None:
    """A size counts bytes as Kubernetes does."""
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "Mi", "20MB", "-1Gi", "1e3", "1 Gi", "0x10", "1,5Gi", "20Mi\n", "1.Gi"])
def test_no_size(text: str) -> None:
    """What is not a size is refused."""
    with pytest.raises(ValueError, match="must be a size"):
        bytes_of(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10.0), ("500ms", 0.5), ("1m30s", 90.0), ("2h", 7200.0), ("1m500ms", 60.5), ("0s", 0.0)],
)
def test_seconds(text: str, seconds: float) -> None:
    """A duration counts seconds."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "10 s", "-1s", "1.5s", "s", "1d", "10s\n"])
def test_no_duration(text: str) -> None:
    """What is not a duration is refused."""
    with pytest.raises(ValueError, match="must be a duration"):
        seconds_of(text)


def test_keeps_the_words() -> None:
    """A size stays as it was written, also through JSON."""
    adapter = TypeAdapter(Quantity)
    size = adapter.validate_python("1024Ki")
    assert size == "1024Ki"
    assert size.bytes == 1024**2
    assert adapter.dump_json(size) == b'"1024Ki"'
    assert adapter.validate_python(1024) == "1024"


@pytest.mark.parametrize("value", [True, 1.5, None, ["1Gi"]])
def test_size_of_another_type(value: object) -> None:
    """Only text and whole numbers are sizes."""
    with pytest.raises(ValidationError, match="must be a size"):
        TypeAdapter(Quantity).validate_python(value)


def test_duration_of_another_type() -> None:
    """A number without a unit is no duration."""
    with pytest.raises(ValidationError, match="valid string"):
        TypeAdapter(Duration).validate_python(10)
