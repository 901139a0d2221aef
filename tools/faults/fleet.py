"""Many resources that are changed at random, and what must have become of them."""

from __future__ import annotations

import asyncio
import json
import random
import re

from faults.world import World, difference, neutral
from omega_operator.api import ApiError
from omega_operator.kinds import DEPLOYMENT, NETWORK_POLICY, RESOURCE, SERVICE, SERVICE_ACCOUNT, Manifest
from omega_operator.labels import NAME

_SIZE = re.compile(r'"maxSize\\*": ?(\d+)')


class Fleet:
    """Resources fleet-0, fleet-1 and so on in one namespace."""

    def __init__(self, world: World, seed: int = 0) -> None:
        self._world, self._dice = world, random.Random(seed)
        self.sizes: dict[str, int] = {}
        """By name: images.maxSize as it was asked for last."""
        self._made = 0
        self._reference: Manifest = {}

    async def begin(self, number: int) -> None:
        """Create so many."""
        await asyncio.gather(*(self.create() for _ in range(number)))

    async def create(self) -> str:
        """Create one more."""
        name = f"fleet-{self._made}"
        self._made += 1
        self.sizes[name] = self._size()
        await self._world.create(name, images={"maxSize": self.sizes[name]})
        return name

    async def change(self, name: str) -> None:
        """Ask for something else."""
        size = self._size()
        await self._world.patch(RESOURCE, name, {"spec": {"images": {"maxSize": size}}})
        self.sizes[name] = size

    async def disturb(self) -> str:
        """One thing at random that a user or a vandal does; says what."""
        name, what = self._dice.choice(list(self.sizes)), self._dice.random()
        if what < 0.5:
            await self.change(name)
            return f"{name} changed"
        if what < 0.65:
            kind = self._dice.choice((SERVICE, DEPLOYMENT, SERVICE_ACCOUNT, NETWORK_POLICY))
            await self._world.delete(kind, name)
            return f"{kind.name} {name} deleted"
        if what < 0.85:
            await self._world.patch(DEPLOYMENT, name, {"spec": {"progressDeadlineSeconds": self._size()}})
            return f"Deployment {name} edited"
        if what < 0.95 or len(self.sizes) < 3:
            return f"{await self.create()} created"
        del self.sizes[name]
        await self._world.delete(RESOURCE, name)
        return f"{name} deleted"

    async def disturb_for(self, seconds: float, pause: float) -> int:
        """Disturb again and again; returns how often."""
        loop = asyncio.get_running_loop()
        end, times = loop.time() + seconds, 0
        while loop.time() < end:
            try:
                await self.disturb()
                times += 1
            except ApiError as error:
                if error.status != 404:  # what was deleted before is not back yet
                    raise
            await asyncio.sleep(pause)
        return times

    async def learn(self) -> None:
        """Take what became of the first resource for what must become of all; to be called while all is well."""
        states = await self._states()
        self._reference = states[min(states, key=lambda name: int(name.rpartition("-")[2]))][0]

    async def is_converged(self) -> bool:
        """Whether all are as they should be."""
        return not await self.wrong()

    async def wrong(self) -> list[str]:
        """What is not as it should be."""
        states = await self._states()
        found = [f"{name} should not be there" for name in states.keys() - self.sizes.keys()]
        for name, size in self.sizes.items():
            state, sizes, is_newest = states.get(name, ({}, set(), False))
            if not is_newest:
                found.append(f"{name} has no status of its newest generation")
            elif sizes != {size}:
                found.append(f"{name} has maxSize {sizes}, not {size}")
            elif state != self._reference:
                found.append(f"{name} is {difference(state, self._reference)}")
        return found

    def _size(self) -> int:
        return self._dice.randint(256, 2048)

    async def _states(self) -> dict[str, tuple[Manifest, set[int], bool]]:
        """By the name of a resource, or of one that is gone and has children: its state, without what differs."""
        world = self._world
        resources = {one["metadata"]["name"]: one for one in await world.api.list(RESOURCE, world.namespace)}
        children: dict[str, list[Manifest]] = {name: [] for name in resources}
        for child in await world.children():
            children.setdefault(child["metadata"]["labels"].get(NAME, ""), []).append(child)
        found: dict[str, tuple[Manifest, set[int], bool]] = {}
        for name, some in children.items():
            resource = resources.get(name)
            if resource is None:
                found[name] = ({}, set(), False)
                continue
            config = json.dumps([one.get("data") for one in some if one["kind"] == "ConfigMap"])
            sizes = {int(size) for size in _SIZE.findall(config.replace("\\", ""))}
            found[name] = _neutral(resource, some), sizes, _is_newest(resource)
        return found


def _is_newest(resource: Manifest) -> bool:
    conditions = {one["type"]: one for one in resource.get("status", {}).get("conditions", ())}
    ready = conditions.get("Ready")
    return ready is not None and ready["observedGeneration"] == resource["metadata"]["generation"]


def _neutral(resource: Manifest, children: list[Manifest]) -> Manifest:
    """Without what differs from one to the other for good reasons: generations, and what maxSize is part of."""
    state = neutral(resource, children)
    for part in ("config", "observedGeneration"):
        state["status"].pop(part, None)
    for child in state["children"]:
        child["metadata"].pop("generation", None)
        child.pop("data", None)
    state["children"].sort(key=json.dumps)
    return state
