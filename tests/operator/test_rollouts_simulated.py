"""Rollouts in random clusters of a small Kubernetes in memory; `tools/rollouts` does the same on a real one."""

import pytest

from rollouts.judge import failures
from rollouts.simulation import Simulation
from rollouts.states import state

STATES, BLOCK = 500, 50


@pytest.mark.parametrize("first", range(0, STATES, BLOCK))
def test_no_rollout_is_stuck(first: int) -> None:
    """Each ends, or says what stands in the way; nobody stops for nothing, and downtime is said before."""
    found = {}
    for number in range(first, first + BLOCK):
        one = Simulation(state(number))
        one.run()
        if wrong := failures(one.ending()):
            found[number] = wrong
    assert found == {}


def test_the_states_are_what_they_should_be() -> None:
    """Among them are rollouts that end, that stall, that surge, that drain and that interrupt the service."""
    ends, plans = set(), set()
    for number in range(BLOCK):
        one = Simulation(state(number))
        one.run()
        ends |= {told.reason for told in one.told} | {one.condition["Stalled"]["reason"]}
        assert one.deployment is not None
        plans.add(one.deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"])
    assert ends >= {
        "Ready",
        "RollingOut",
        "Downtime",
        "InsufficientGPU",
        "Unschedulable",
        "QuotaExceeded",
        "NotStalled",
    }
    assert plans == {0, 1}
