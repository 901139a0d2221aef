"""Which images make room for newer ones."""

from __future__ import annotations

from cluster import buildah


def test_the_newest_images_of_a_repository_stay() -> None:
    """The image that was just built stays with the newest others of its repository; other repositories are left alone."""
    created = {
        "localhost/server:b": 2,
        "localhost/server:a": 1,
        "localhost/server:new": 0,
        "localhost/server:d": 4,
        "localhost/server:c": 3,
        "localhost/operator:a": 1,
        "localhost:5000/server:a": 1,
    }
    assert buildah.superseded("localhost/server:new", created) == ["localhost/server:b", "localhost/server:a"]
    assert buildah.superseded("localhost/operator:a", created) == []
