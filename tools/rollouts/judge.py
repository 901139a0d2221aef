"""Whether a rollout ended as it should: the same for the simulation and for the real cluster."""

from __future__ import annotations

from dataclasses import dataclass

from rollouts.states import Json, State


@dataclass(frozen=True)
class Ending:
    """What became of a rollout.

    Attributes:
        state: the cluster and the change.
        conditions: of the resource, by their type.
        new: new pods that serve.
        old: old pods that serve.
        before: pods that served before the change.
        fewest: pods that served at the worst moment since.
        possible: new pods that the cluster could run without the old ones, up to the wanted number.
        could_keep_one: whether one old pod could have gone for a new one while another served.
        undeclared: moments at which the last pod that served was given up without a word before.
    """

    state: State
    conditions: dict[str, Json]
    new: int
    old: int
    before: int
    fewest: int
    possible: int
    could_keep_one: bool
    undeclared: tuple[str, ...]


def failures(one: Ending) -> list[str]:
    """What is wrong; nothing if all is well."""
    found = [f"downtime that nobody was told of: {moment}" for moment in one.undeclared]
    replicas, strategy = one.state.replicas, one.state.strategy
    ready, is_stalled = one.conditions["Ready"], one.conditions["Stalled"]["status"] == "True"
    is_done = one.new == replicas and one.old == 0
    went_on = one.new == min(replicas, one.possible) and one.old == 0
    stayed = one.old + one.new >= min(one.before, replicas) and one.possible < replicas
    said = f"{one.new} new and {one.old} old of {replicas} serve, {one.possible} new could"
    if is_done != (ready["status"] == "True"):
        found.append(f"{said}; and Ready is {ready}")
    if not is_done and not is_stalled:
        found.append(f"{said}, and nothing says why: {ready}")
    if (strategy == "Auto" and not (went_on or stayed)) or (strategy == "DrainFirst" and one.possible and not went_on):
        found.append(said)
    if strategy == "Surge" and one.fewest < min(one.before, replicas):
        found.append(f"only {one.fewest} of {one.before} served during a surge")
    if strategy == "Auto" and one.could_keep_one and not one.state.rival and one.fewest < min(1, one.before):
        found.append("no pod served for a while, though one could have all the time")
    return found
