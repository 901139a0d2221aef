"""The cache: never back to an older version, whatever the order in which news comes."""

from typing import Any

from omega_operator import labels
from omega_operator.cache import Cache
from omega_operator.desired import names
from omega_operator.kinds import CONFIG_MAP, RESOURCE, Key, Manifest

KEY = Key("ns", "vl")
REF = names.config_map("vl")


def config_map(version: int, *, uid: str = "u", of: str = "vl", **data: Any) -> Manifest:
    """A child of a resource."""
    head = {"namespace": "ns", "name": REF.name, "uid": uid, "resourceVersion": str(version)}
    return {"metadata": head | {"labels": labels.child(of, "1")}, "data": data}


def test_older_news_comes_late() -> None:
    """Doubled and reordered news leaves the newest."""
    cache = Cache()
    for version in (3, 5, 4, 5):
        cache.put(CONFIG_MAP, config_map(version, number=version))
    assert cache.children(KEY)[REF]["data"] == {"number": 5}


def test_news_after_the_end() -> None:
    """What is gone does not come back by late news, but does by new ones."""
    cache = Cache()
    cache.put(CONFIG_MAP, config_map(3))
    assert cache.remove(CONFIG_MAP, "u", 6) == {KEY}
    cache.put(CONFIG_MAP, config_map(5))
    assert cache.children(KEY) == {}
    cache.put(CONFIG_MAP, config_map(7))
    assert set(cache.children(KEY)) == {REF}


def test_an_object_changes_its_resource() -> None:
    """It is found under the new key only."""
    cache = Cache()
    cache.put(CONFIG_MAP, config_map(3))
    cache.put(CONFIG_MAP, config_map(4, of="other"))
    assert cache.children(KEY) == {}
    assert set(cache.children(Key("ns", "other"))) == {REF}


def test_a_resource_is_made_again() -> None:
    """Of two of one name the newer counts, until the end of the older is known."""
    cache = Cache()
    for uid, version in (("new", 9), ("old", 3)):
        head = {"namespace": "ns", "name": "vl", "uid": uid, "resourceVersion": str(version)}
        cache.put(RESOURCE, {"metadata": head})
    found = cache.resource(KEY)
    assert found is not None
    assert found["metadata"]["uid"] == "new"
    cache.remove(RESOURCE, "old", 8)
    assert cache.keys() == {KEY}


def test_what_is_news() -> None:
    """What we wrote is no news when the watch brings it; what came before it is, for nobody has looked at it yet."""
    cache = Cache()
    assert cache.put(CONFIG_MAP, config_map(5))
    assert not cache.put(CONFIG_MAP, config_map(5))
    assert cache.put(CONFIG_MAP, config_map(4))
    assert cache.put(CONFIG_MAP, config_map(6))


def test_a_child_is_made_again() -> None:
    """Of two children of one name the newer counts, until the end of the older is known."""
    cache = Cache()
    cache.put(CONFIG_MAP, config_map(9, uid="new", number=2))
    cache.put(CONFIG_MAP, config_map(8, uid="old", number=1))
    assert cache.children(KEY)[REF]["data"] == {"number": 2}
    cache.remove(CONFIG_MAP, "new", 10)
    assert cache.children(KEY)[REF]["data"] == {"number": 1}
