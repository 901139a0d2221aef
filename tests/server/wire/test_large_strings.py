"""Large data: URIs leave a body while it arrives, and nothing else does."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omega_server.wire import large_strings, strict_json
from omega_server.wire.errors import ApiError
from omega_server.wire.large_strings import LARGE, Splitter, put_back

URI = "data:image/png;base64," + "A" * 3 * LARGE


def split(body: bytes, step: int = 16_384) -> Splitter:
    """A body that arrived in pieces."""
    splitter = Splitter()
    for at in range(0, len(body), step):
        splitter.feed(body[at : at + step])
    return splitter


def read(body: bytes, step: int = 16_384) -> tuple[Any, Splitter]:
    """The value of a body, as a route reads it."""
    splitter = split(body, step)
    return put_back(strict_json.parse(splitter.finish()), splitter.kept), splitter


@pytest.mark.parametrize("step", [1, 1000, LARGE, 10 * LARGE])
def test_addresses(step: int) -> None:
    """An address is taken out as it is, and what is around it stays."""
    step = max(step, 7) if step < 1000 else step
    value, splitter = read(json.dumps({"a": [1, {"url": URI, "b": "c"}], "image": URI}).encode(), step)
    if step > 3 * LARGE:
        assert not splitter.kept  # it came in one piece
        assert value["image"] == URI
        return
    kept = splitter.kept
    assert [b"".join(pieces).decode() for pieces in kept.values()] == [URI, URI]
    assert value == {"a": [1, {"url": next(iter(kept)), "b": "c"}], "image": list(kept)[1]}
    assert len(splitter.finish()) < 200


@pytest.mark.parametrize(
    "value",
    [
        {"text": URI},
        {"stop": [URI]},
        {"url": [URI]},
        {URI: 1},
        [URI],
        {"url": 'x"' + URI},
        {"url": "\\" + URI},
        {"text": 'say "data: ' + "x" * 3 * LARGE},
        {"url": URI + "\n"},
        {"url": "x" + URI},
        {"url": "é" + URI},
    ],
)
def test_everything_else(value: Any) -> None:
    """What is no plain address in an address's place is what it was."""
    assert read(json.dumps(value).encode())[0] == value


@pytest.mark.parametrize(
    "body", [b'{"url": "' + URI.encode(), b'"' + URI.encode() + b'"x', b'{"a" "' + URI.encode() + b'"}']
)
def test_no_json(body: bytes) -> None:
    """What is no JSON is none afterwards."""
    with pytest.raises(ApiError):
        read(body)


@pytest.mark.parametrize("bad", [b"\xff", b"\n", b"\x00"])
def test_no_text(bad: bytes) -> None:
    """What no JSON string may hold is refused where the string is put back."""
    with pytest.raises(ApiError):
        read(b'{"text": "' + URI.encode() + bad + b'"}')


def test_other_letters() -> None:
    """A long text that happens to begin like an address may hold any letters, as a short one may."""
    value = {"text": f"data: {'é日🎈' * LARGE}"}
    assert read(json.dumps(value, ensure_ascii=False).encode())[0] == value


STRINGS = st.sampled_from(
    ["", "data:", '"data:', "\\", '\\"data:', "x" * 40, "data:" + "y" * 40, "data:" + "z" * 40 + "\\", "é"]
)
VALUES = st.recursive(
    STRINGS | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(STRINGS, inner), max_leaves=8
)


@given(value=VALUES, step=st.integers(1, 60), escaped=st.booleans())
def test_any_body(value: Any, step: int, escaped: bool) -> None:
    """Whatever a body holds and however it arrives, nothing is lost: with small bounds and all kinds of quotes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_strings, "LARGE", 16)
        patch.setattr(large_strings, "ADDRESSES", frozenset())
        assert read(json.dumps(value, ensure_ascii=escaped).encode(), step)[0] == value
