"""Large strings leave a body while it arrives, and nothing of it is lost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omega_server.wire import large_strings, strict_json
from omega_server.wire.errors import ApiError
from omega_server.wire.large_strings import Splitter, put_back

LARGE = 200
"""Bytes of a string that is large here."""
URI = "data:image/png;base64," + "A" * 3 * LARGE
BARE = "/9j/" + "+A/=" * LARGE
NOT_SO_LARGE = "x" * (LARGE // 2)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_strings, "LARGE", LARGE)


def split(body: bytes, step: int = 50) -> Splitter:
    """A body that arrived in pieces."""
    splitter = Splitter()
    for at in range(0, len(body), step):
        splitter.feed(body[at : at + step])
    return splitter


def read(body: bytes, step: int = 50) -> tuple[Any, Splitter]:
    """The value of a body, as a route reads it."""
    splitter = split(body, step)
    return put_back(strict_json.parse(splitter.finish()), splitter.kept), splitter


def message(*parts: Any) -> dict[str, Any]:
    """A conversation."""
    return {"messages": [{"role": "user", "content": list(parts)}], "n": 1}


ADDRESSES = [
    ({"image": URI, "b": "c"}, [URI]),
    ({"image": BARE}, [BARE]),
    ({"video": URI}, [URI]),
    ({"image_url": {"url": URI, "b": "c"}}, [URI]),
    ({"video_url": {"b": NOT_SO_LARGE, "url": URI}}, [URI]),
    ({"image": "\\/" * LARGE}, ["\\/" * LARGE]),
]


@pytest.mark.parametrize("step", [1, 7, 50, 100])
@pytest.mark.parametrize(
    "written",
    [
        lambda text: text,
        lambda text: text.replace("/", "\\/"),
        lambda text: text.replace("/", "\\/").replace("+", "\\u002B").replace("=", "\\u003d"),
        lambda text: text.replace("data:", "\\u0064ata:").replace("/9j", "\\/9j"),
    ],
    ids=["plain", "slashes", "signs", "head"],
)
@pytest.mark.parametrize(("part", "expected"), ADDRESSES)
def test_addresses(part: Any, expected: list[str], written: Any, step: int) -> None:
    """An address is taken out, however it is written and cut, and what is around it stays."""
    body = json.dumps(message(part, {"text": "a"}))
    for address in expected:
        body = body.replace(address, written(address))
    value, splitter = read(body.encode(), step)
    kept = splitter.kept
    assert [b"".join(pieces).decode() for pieces in kept.values()] == expected
    assert all(len(pieces) > 1 for pieces in kept.values())
    around = json.dumps(message(part, {"text": "a"}))
    for name, address in zip(kept, expected, strict=True):
        around = around.replace(json.dumps(address)[1:-1], name)
    assert value == json.loads(around)
    assert len(splitter.finish()) < 2 * LARGE


def test_in_one_piece() -> None:
    """What comes whole is read whole."""
    value, splitter = read(json.dumps(message({"image": URI})).encode(), 10 * LARGE)
    assert not splitter.kept
    assert value == message({"image": URI})


@pytest.mark.parametrize(
    "value",
    [
        {"text": URI},
        {"stop": [URI]},
        {"url": URI},
        {"metadata": {"url": URI, "image": URI}},
        message({"image": [URI]}),
        message({"text": URI}, {"text": BARE}),
        {"tools": [{"function": {"parameters": {"image": URI}}}]},
        {URI: 1},
        {URI: 1, BARE: 2},
        [URI],
        {"text": 'x"' + URI},
        {"text": "\\" + URI},
        {"text": "\\" * LARGE},
        {"text": '\\"' * LARGE},
        {"text": '\n"\\/' * LARGE},
        {"text": 'say "data: ' + "x" * 3 * LARGE},
        {"text": URI + "\n"},
        {"text": "é日🎈" * LARGE},
        {"text": "\ud800" + "x" * 3 * LARGE},
        [NOT_SO_LARGE] * 5,
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("step", [1, 11, 100, 1000])
def test_everything_else(value: Any, escaped: bool, step: int) -> None:
    """What stands in no address's place is what it was."""
    body = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    if not escaped and "\\ud800" in json.dumps(value):
        body = json.dumps(value).encode()
    assert read(body, step)[0] == value


@pytest.mark.parametrize(
    "body",
    [
        b'{"url": "' + URI.encode(),
        b'{"url": "' + URI.encode() + b"\\",
        b'{"url": "' + URI.encode() + b"\xf0\x9f",
        b'"' + URI.encode() + b'"x',
        b'{"a" "' + URI.encode() + b'"}',
        b'{"a": \\"' + URI.encode() + b'"}',
        b'{"a": "' + URI.encode() + b'\\x"}',
        b'{"a": "' + URI.encode() + b'\\u12"}',
        b'{"a": "\\u12x' + URI.encode() + b'"}',
        b'{"' + URI.encode() + b'": 1, "' + URI.encode() + b'": 1}',
    ],
)
@pytest.mark.parametrize("step", [1, 13, 100])
def test_no_json(body: bytes, step: int) -> None:
    """What is no JSON is none afterwards."""
    with pytest.raises(ApiError) as raised:
        read(body, step)
    assert raised.value.problem.code == "invalid_json"


@pytest.mark.parametrize("bad", [b"\xff", b"\n", b"\x00", b"\xe6\x97"])
@pytest.mark.parametrize("around", [b"", b"\\n"])
def test_no_text(bad: bytes, around: bytes) -> None:
    """What no JSON string may hold is refused where the string is put back."""
    with pytest.raises(ApiError):
        read(b'{"text": "' + URI.encode() + around + bad + b'"}')


STRINGS = st.sampled_from(
    ["", "data:", '"data:', "\\", '\\"data:', "x" * 40, "data:" + "y" * 40, "data:" + "z" * 40 + "\\", "é", "🎈" * 9]
)
VALUES = st.recursive(
    STRINGS | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(STRINGS, inner), max_leaves=8
)


@given(value=VALUES, step=st.integers(1, 60), escaped=st.booleans())
def test_any_body(value: Any, step: int, escaped: bool) -> None:
    """Whatever a body holds and however it arrives, nothing is lost: with small bounds and all kinds of quotes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_strings, "LARGE", 16)
        assert read(json.dumps(value, ensure_ascii=escaped).encode(), step)[0] == value
