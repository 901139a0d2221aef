"""docs/kubectl-omega.md shows what the plugin prints of the cluster in world.yaml, to the letter."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omega_server.kubectl import status, top, why

PAGE = Path(__file__).parents[2] / "docs/kubectl-omega.md"
BLOCKS = {
    command: text
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for command, _, text in [block.removeprefix("$ kubectl omega ").partition("\n")]
}


def _why(world: Any) -> str:
    pods = world.pods("omega-new")
    last = {pod["metadata"]["name"]: why.words_of(pod) for pod in pods}
    return why.explain(world.resource("omega-new"), pods, why.events_of(pods, world.events), last, world.now)


def _replicas(world: Any) -> list[top.Replica]:
    rates = (612.0, 188.4)
    return [
        top.replica(world.resource("omega-vl"), pod).measured(
            top.engines_of(list(top.parse(world.metrics[pod["metadata"]["name"]]))), rate
        )
        for pod, rate in zip(world.pods("omega-vl"), rates, strict=True)
    ]


COMMANDS: dict[str, Callable[[Any], str]] = {
    "status -n vision": lambda world: status.overview(world.resources, world.now, with_namespace=False),
    "status omega-vl -n vision": lambda world: status.detail(
        world.resource("omega-vl"), world.deployment("omega-vl"), world.pods("omega-vl"), world.now
    ),
    "why omega-new -n vision": _why,
    "top omega-vl -n vision": lambda world: top.show(_replicas(world), engines=False),
    "top omega-vl -n vision --engines": lambda world: top.show(_replicas(world), engines=True),
}


def test_every_output_is_made_here() -> None:
    """No output on the page is made up."""
    assert set(BLOCKS) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_shows_what_is_printed(command: str, world: Any) -> None:
    """The page has what the command prints."""
    assert BLOCKS[command] == COMMANDS[command](world) + "\n"
