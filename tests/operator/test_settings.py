"""The operator's environment."""

import pytest

from omega_operator.settings import Settings, SettingsError


def test_environment() -> None:
    """Every variable, with names in capitals and namespaces between commas."""
    settings = Settings.of(
        {
            "SERVER_IMAGE": "x:1",
            "WATCH_NAMESPACES": "a, b,",
            "METRICS_NAMESPACES": "monitoring,keda",
            "LOG_LEVEL": "debug",
            "PROBE_PORT": "9000",
            "POD_NAME": "op-0",
        }
    )
    assert settings.watch_namespaces == ("a", "b")
    assert settings.metrics_namespaces == ("monitoring", "keda")
    assert (settings.server_image, settings.log_level, settings.probe_port, settings.pod_name) == (
        "x:1",
        "debug",
        9000,
        "op-0",
    )


def test_empty_variables_are_missing_ones() -> None:
    """A chart writes an empty value for what is not set."""
    assert Settings.of({"SERVER_IMAGE": "x:1", "WATCH_NAMESPACES": "", "LOG_LEVEL": ""}).log_level == "info"


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "SERVER_IMAGE"),
        ({"SERVER_IMAGE": "x", "PROBE_PORT": "0"}, "PROBE_PORT"),
        ({"SERVER_IMAGE": "x", "LOG_LEVEL": "loud"}, "LOG_LEVEL"),
    ],
)
def test_a_wrong_variable_is_named(environment: dict[str, str], name: str) -> None:
    """What to change is in the message."""
    with pytest.raises(SettingsError, match=name):
        Settings.of(environment)
