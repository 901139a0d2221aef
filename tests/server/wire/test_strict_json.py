"""JSON that is not quite JSON is refused, always with the same code."""

import pytest

from omega_server.wire.errors import ApiError
from omega_server.wire.strict_json import MAX_DEPTH, parse


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": 1,}',
        b"{'a': 1}",
        b'{"a": 1} x',
        b'{"a": 1, "a": 1}',
        b'{"x": {"a": 1, "b": 2, "a": 3}}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a": ' + b"1" * 5000 + b"}",
        b"[" * 10_000,
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    ],
    ids=range(16),
)
def test_refused(body: bytes) -> None:
    """What RFC 8259 does not know, or what nests too deep, is 400 invalid_json."""
    with pytest.raises(ApiError) as caught:
        parse(body)
    assert (caught.value.problem.status, caught.value.problem.code) == (400, "invalid_json")


def test_accepted() -> None:
    """Everything that JSON has comes through unchanged, up to the greatest depth."""
    assert parse(b'{"a": [1, 2.5, true, null, "\\u00e9"]}') == {"a": [1, 2.5, True, None, "é"]}
    parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
