"""A cluster written down, and what the plugin says of it."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

NOON = datetime.fromisoformat("2030-01-02T12:00:00+00:00")


class World:
    """What kubectl would say."""

    def __init__(self) -> None:
        text = (Path(__file__).parent / "world.yaml").read_text()
        self._said: dict[str, Any] = yaml.safe_load(text)
        self.now = NOON
        self.resources: list[dict[str, Any]] = self._said["resources"]
        self.events: list[dict[str, Any]] = self._said["events"]
        self.metrics: dict[str, str] = self._said["metrics"]

    def resource(self, name: str) -> dict[str, Any]:
        """One of them."""
        return next(one for one in self.resources if one["metadata"]["name"] == name)

    def deployment(self, name: str) -> dict[str, Any] | None:
        """Of a resource."""
        return next((one for one in self._said["deployments"] if one["metadata"]["name"] == name), None)

    def pods(self, name: str) -> list[dict[str, Any]]:
        """Of a resource."""
        return [one for one in self._said["pods"] if one["metadata"]["labels"]["omegavlm.io/name"] == name]


@pytest.fixture
def world() -> World:
    """The cluster of world.yaml, fresh."""
    return World()
