"""The live configuration on its way into pods whose kubelet looks too early."""

from typing import Any

import pytest

from omega_operator import labels, pods
from omega_operator.kinds import Key, Manifest
from omega_operator.pods import NUDGE_AGAIN, PodConfigs

KEY = Key("ns", "vl")


class Nudged:
    """Sets annotations, and takes them down; and a clock that stands until it is moved."""

    def __init__(self, *running: Manifest) -> None:
        self.now = 100.0
        self.nudges: list[tuple[str, str]] = []
        self.running = running

    async def annotate_pod(self, one: Manifest, annotations: dict[str, str]) -> None:
        one["metadata"]["annotations"] = annotations
        self.nudges.append((annotations[labels.CONFIG], annotations[labels.NUDGES]))


def a_pod() -> Manifest:
    """A pod that runs and can be asked."""
    return {
        "metadata": {"name": "vl-0", "uid": "1"},
        "status": {"podIP": "192.0.2.1", "containerStatuses": [{"state": {"running": {}}}]},
    }


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What each server says of its configuration: to be changed."""
    told: dict[str, str] = {"hash": "old"}

    async def answer(_: Any, __: Manifest, path: str) -> bytes:
        assert path == "/ready"
        return b'{"config": {"hash": "%s", "error": null}}' % told["hash"].encode()

    monkeypatch.setattr(pods, "answer", answer)
    return told


async def test_a_nudge_that_came_too_early_is_repeated(told: dict[str, str]) -> None:
    """A pod that stays behind is nudged again, later and later and not for ever, and no more once it has confirmed."""
    kubelet = Nudged(a_pod())
    configs = PodConfigs(None, kubelet, lambda: kubelet.now)  # type: ignore[arg-type]
    looks = [0.0, 0.1, 1.9, 2.0, 3.9, 4.0, 5.0, 8.0, 16.0, 31.0, 32.0, 64.0, 600.0]
    for at in looks:
        kubelet.now = 100.0 + at
        await configs.settle(KEY, kubelet.running, "new")
    assert kubelet.nudges == [("new", str(number)) for number in range(1, len(NUDGE_AGAIN) + 2)]

    told["hash"] = "new"
    await configs.settle(KEY, kubelet.running, "new")
    assert configs.next_look(KEY) is None
    await configs.settle(KEY, kubelet.running, "newer")
    assert kubelet.nudges[-1] == ("newer", "1")


@pytest.mark.usefixtures("told")
async def test_an_operator_that_starts_anew_nudges_nobody_twice() -> None:
    """What was nudged by the one before counts."""
    kubelet = Nudged(a_pod())
    for _ in range(2):
        configs = PodConfigs(None, kubelet, lambda: kubelet.now)  # type: ignore[arg-type]
        await configs.settle(KEY, kubelet.running, "new")
    assert kubelet.nudges == [("new", "1")]
