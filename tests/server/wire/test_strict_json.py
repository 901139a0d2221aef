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


@pytest.mark.parametrize("depth", [MAX_DEPTH, 10_000])
@pytest.mark.parametrize(
    ("before", "code", "param"),
    [
        (b'{"messages": ["}", "response_format"], "tools": ', "invalid_json_schema", "tools"),
        (b'{"n": 1, "response_format": ', "invalid_json_schema", "response_format"),
        (b'{"tools": [{}], "x": "\\"tools", "messages": ', "invalid_json", None),
    ],
)
def test_a_deep_schema_is_named(before: bytes, code: str, param: str | None, depth: int) -> None:
    """What nests too deep inside a schema is the schema's fault, anywhere else the body's."""
    with pytest.raises(ApiError) as caught:
        parse(before + b'{"items": ' * depth + b"{}" + b"}" * (depth + 1))
    assert (caught.value.problem.code, caught.value.problem.param) == (code, param)
