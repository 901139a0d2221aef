"""Watches that went silent are noticed, slow ones are not blamed."""

from omega_operator.audit import behind


def test_behind() -> None:
    """Only an object that stays at the same old version, look after look, counts up."""
    first = behind({"u": "5"}, {"u": "4"}, {})
    assert first == {("u", "4"): 1}
    assert behind({"u": "6"}, {"u": "4"}, first) == {("u", "4"): 2}
    assert behind({"u": "6"}, {"u": "5"}, first) == {("u", "5"): 1}
    assert behind({"u": "6"}, {"u": "6"}, first) == {}


def test_missing_and_deleted_objects() -> None:
    """An object that never arrived, or never went, is as telling as an old one."""
    assert behind({"new": "1"}, {}, {("new", None): 1}) == {("new", None): 2}
    assert behind({}, {"gone": "1"}, {}) == {("gone", "1"): 1}
