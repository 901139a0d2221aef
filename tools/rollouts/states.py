"""Random states of a GPU cluster before a rollout, each from its number alone.

Sizes are such that nothing is certain: nodes are free, full or fragmented, some are tainted or cordoned, a quota may be
tight, replicas may be more than there is room for, and the new pods may be larger than the old ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]

GPU = "nvidia.com/gpu"
HOSTNAME = "kubernetes.io/hostname"
POOL = "omega-pool"
KINDS = ("free", "full", "fragmented", "tainted", "quota", "apart")
Strategy = Literal["Auto", "Surge", "DrainFirst"]


@dataclass(frozen=True)
class Machine:
    """A node: its GPUs, those that pods of others hold, and what keeps our pods away."""

    gpus: int
    taken: tuple[int, ...] = ()
    tainted: bool = False
    pool: str = "a"


@dataclass(frozen=True)
class Shape:
    """What a resource asks of each pod."""

    model: str
    gpus: int
    pool: str = ""
    apart: bool = False
    """No two on one node."""


@dataclass(frozen=True)
class State:
    """A cluster, a resource in it, and the change that is made."""

    number: int
    kind: str
    machines: tuple[Machine, ...]
    quota: int | None
    """GPUs that the namespace may have."""

    replicas: int
    before: Shape
    after: Shape
    strategy: Strategy

    rival: int
    """GPUs of a pod of somebody else's that comes while the rollout runs; 0: none comes."""


def state(number: int) -> State:
    """The state of this number."""
    dice = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    replicas = dice.choice((1, 1, 2, 2, 3))
    size = dice.choice((1, 2, 4))
    grown = dice.choice((size, size, size, size, 2 * size, max(size // 2, 1)))
    apart = kind == "apart"
    pool = dice.choice(("", "", "a"))
    before = Shape("old", size, pool, apart)
    after = Shape(
        "new", grown, dice.choice((pool, pool, pool, pool, pool, pool, "a", "nowhere")), apart and dice.random() < 0.8
    )
    machines = tuple(_machine(dice, kind, size) for _ in range(dice.randint(1, 3)))
    room = replicas * size + dice.choice((0, 0, size, 2 * size))
    strategy: Strategy = dice.choice(("Auto", "Auto", "Auto", "Auto", "Surge", "DrainFirst"))
    rival = dice.choice((0, 0, 0, size))
    return State(number, kind, machines, room if kind == "quota" else None, replicas, before, after, strategy, rival)


def _machine(dice: random.Random, kind: str, size: int) -> Machine:
    gpus = dice.choice((4, 8)) if kind != "free" else 8
    tainted = kind == "tainted" and dice.random() < 0.4
    pool = dice.choice(("a", "a", "b"))
    if kind in {"free", "quota", "apart"}:
        return Machine(gpus, (), tainted, pool)
    if kind == "fragmented":
        taken = tuple(dice.choice((1, 2)) for _ in range(dice.randint(0, gpus // 2)))
        return Machine(gpus, taken if sum(taken) < gpus else taken[:1], tainted, pool)
    left = size * dice.choice((1, 1, 2))
    return Machine(gpus, (gpus - left,) if gpus > left else (), tainted, pool)


def spec(shape: Shape, one: State) -> Json:
    """The resource's spec, as far as it matters here."""
    wish: Json = {"nodeSelector": {POOL: shape.pool}} if shape.pool else {}
    if shape.apart:
        term = {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": {"omegavlm.io/name": "vl"}}}
        wish["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    wish["resources"] = {"requests": {"cpu": "10m", "memory": "16Mi"}}
    return {
        "replicas": one.replicas,
        "model": {"source": "path:///model", "name": shape.model},
        "gpu": {"count": shape.gpus},
        "rollout": {"strategy": one.strategy, "drainSeconds": 5},
        "pod": wish,
    }
