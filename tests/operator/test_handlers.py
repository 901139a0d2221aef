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
