"""How kopf is told to watch."""

import kopf
import pytest

from omega_operator.handlers import configure


@pytest.mark.parametrize("watch_cluster", [True, False])
def test_nothing_is_watched_without_a_right_to_it(watch_cluster: bool) -> None:
    """Kopf lists definitions and namespaces only where it may: it would ask for them for ever, and begin no watch."""
    settings = kopf.OperatorSettings()
    configure(settings, watch_cluster=watch_cluster)
    assert settings.scanning.disabled is not watch_cluster


def test_an_object_is_not_compared_with_what_it_was() -> None:
    """Kopf makes no copy of an object to compare it with an older one, and has nothing to write into it."""
    settings = kopf.OperatorSettings()
    configure(settings, watch_cluster=True)
    body = kopf.Body({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 1}})
    patch = kopf.Patch()
    essence = settings.persistence.diffbase_storage.build(body=body)
    assert settings.persistence.progress_storage.clear(essence=essence) == {}
    settings.persistence.diffbase_storage.store(body=body, patch=patch, essence=essence)
    settings.persistence.progress_storage.touch(body=body, patch=patch, value="now")
    assert not patch
