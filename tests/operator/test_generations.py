"""Ready is never said of a generation that the pods are not of, in whatever order things are seen."""

import copy
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from omega_operator import causes, pod
from omega_operator.desired import desired, names
from omega_operator.observed import Observed
from omega_operator.settings import Settings
from omega_operator.status import announced, status
from omega_schema.resource import OmegaVLMDeployment

Json = dict[str, Any]
DEPLOYMENT = names.deployment("vl")
START = datetime(2030, 1, 1, tzinfo=UTC)
RUNS, BLOCK, STEPS = 2000, 200, 30
SETTINGS = Settings(server_image="omega-server:1", pod_name="operator-0")


class World:
    """What is so, and what the operator has seen of it: each object at some version that it once had."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.resources = [self._resource(1)]
        self.deployments: list[Json | None] = [None]
        self.pods: list[tuple[Json, ...]] = [()]
        self.seen = {"resource": 0, "deployment": 0, "pods": 0}
        self.written: Json = {}
        self.clock, self.made = 0, 0

    def step(self) -> None:
        """One thing happens."""
        happens = self.dice.choice(
            (self.change, self.controller, self.controller, self.pod_starts, self.pod_starts, self.pod_goes)
            + (self.news,) * 4
            + (self.restart,)
            + (self.reconcile,) * 5
        )
        happens()

    def change(self) -> None:
        """Somebody changes the resource, perhaps back to what it was."""
        self.resources.append(self._resource(len(self.resources) + 1))

    def controller(self) -> None:
        """The Deployment controller makes and deletes pods, and counts them; it may be slow in either."""
        current = copy.deepcopy(self.deployments[-1])
        if current is None:
            return
        pods, newest = list(self.pods[-1]), pod.template_digest(current["spec"]["template"])
        new = [one for one in pods if pod.template_digest(one) == newest]
        if self.dice.random() < 0.7:
            if len(new) < current["spec"]["replicas"]:
                pods.append(self._pod(current["spec"]["template"]))
            elif len(pods) > current["spec"]["replicas"]:
                pods.remove(next((one for one in pods if one not in new), pods[-1]))
            self.pods.append(tuple(pods))
            new = [one for one in pods if pod.template_digest(one) == newest]
        current["status"] = {
            "observedGeneration": current["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": len(new),
            "availableReplicas": sum(map(pod.is_ready, pods)),
        }
        self.deployments.append(current)

    def pod_starts(self) -> None:
        """A pod becomes ready."""
        self._turn("True")

    def pod_goes(self) -> None:
        """A pod stops being ready."""
        self._turn("False")

    def news(self) -> None:
        """A watch brings a newer version, or several at once, but never an older one."""
        what = self.dice.choice(tuple(self.seen))
        newest = {"resource": len(self.resources), "deployment": len(self.deployments), "pods": len(self.pods)}[
            what
        ] - 1
        self.seen[what] = self.dice.randint(self.seen[what], newest)

    def catch_up(self) -> None:
        """All watches are as far as the server."""
        self.seen = {
            "resource": len(self.resources) - 1,
            "deployment": len(self.deployments) - 1,
            "pods": len(self.pods) - 1,
        }

    def restart(self) -> None:
        """A new operator lists everything anew."""
        self.catch_up()

    def reconcile(self) -> None:
        """The operator looks, applies and writes; its own write it knows at once."""
        self.clock += 1
        resource = self.resources[self.seen["resource"]]
        observed = self._observe(self.deployments[self.seen["deployment"]])
        wanted = desired(resource, observed, SETTINGS)
        if wanted.interrupts:
            self.written = announced(resource, observed, wanted, self.written)
            self.check(resource, "announced")
        (manifest,) = (one for one in wanted.manifests if one["kind"] == "Deployment")
        seen = self.deployments[self.seen["deployment"]]
        if seen is None or seen["spec"] != manifest["spec"]:
            self._apply(manifest)
        after = self._observe(self.deployments[self.seen["deployment"]])
        cause = causes.find(resource, after, wanted.way)
        self.written = status(resource, after, wanted, cause, self.written)
        self.check(resource, "written")

    def check(self, resource: OmegaVLMDeployment, when: str) -> None:
        """Who reads Ready of this generation may rely on it."""
        ready = next(one for one in self.written["conditions"] if one["type"] == "Ready")
        assert self.written["observedGeneration"] == ready["observedGeneration"] == resource.metadata.generation
        if ready["status"] != "True":
            return
        assert when == "written"
        current = self.deployments[-1]
        assert current is not None
        served = _model(current["spec"]["template"])
        assert served == resource.spec.model.name, f"generation {resource.metadata.generation} is not what is applied"
        pods = [one for one in self.pods[self.seen["pods"]] if pod.is_ready(one)]
        mine = sum(_model(one) == resource.spec.model.name for one in pods)
        assert mine >= (resource.spec.replicas or 0), f"{mine} pods serve {resource.spec.model.name}"

    @property
    def is_ready(self) -> bool:
        """Whether the newest generation is said to be ready."""
        ready = next(one for one in self.written["conditions"] if one["type"] == "Ready")
        return bool(ready["status"] == "True" and ready["observedGeneration"] == len(self.resources))

    def _observe(self, deployment: Json | None) -> Observed:
        children = {} if deployment is None else {DEPLOYMENT: deployment}
        at = START + timedelta(seconds=self.clock)
        return Observed(children=children, pods=self.pods[self.seen["pods"]], at=at)

    def _apply(self, manifest: Json) -> None:
        """As server-side apply does: the answer is the object as it is then."""
        before = self.deployments[-1]
        made = copy.deepcopy(manifest) | {"status": copy.deepcopy(before["status"]) if before else {}}
        changed = before is None or before["spec"] != made["spec"]
        made["metadata"]["generation"] = (before["metadata"]["generation"] if before else 0) + changed
        self.deployments.append(made)
        self.seen["deployment"] = len(self.deployments) - 1

    def _resource(self, generation: int) -> OmegaVLMDeployment:
        spec = {
            "model": {"source": "path:///model", "name": self.dice.choice("abc")},
            "replicas": self.dice.choice((0, 1, 1, 2)),
            "images": {"maxSize": self.dice.choice((512, 1024))},
            "rollout": {"strategy": self.dice.choice(("Auto", "Auto", "DrainFirst"))},
        }
        head = {"name": "vl", "namespace": "vision", "uid": "uid-1", "generation": generation}
        body = {"apiVersion": "omegavlm.io/v1alpha1", "kind": "OmegaVLMDeployment", "metadata": head, "spec": spec}
        return OmegaVLMDeployment.model_validate(body)

    def _pod(self, template: Json) -> Json:
        self.made += 1
        made = copy.deepcopy(template)
        made["metadata"]["name"] = f"p{self.made}"
        made["spec"]["nodeName"] = "n"
        return made | {"status": {"conditions": []}}

    def _turn(self, verdict: str) -> None:
        pods = list(self.pods[-1])
        if pods:
            place = self.dice.randrange(len(pods))
            since = (START + timedelta(seconds=self.clock)).isoformat()
            ready = {"type": "Ready", "status": verdict, "lastTransitionTime": since}
            pods[place] = pods[place] | {"status": {"conditions": [ready]}}
            self.pods.append(tuple(pods))


def _model(template: Json) -> str:
    """The model's name that a pod serves by."""
    (server,) = template["spec"]["containers"]
    return str(next(one["value"] for one in server["env"] if one["name"] == "MODEL_NAME"))


@pytest.mark.parametrize("first", range(0, RUNS, BLOCK))
def test_never_ready_for_a_stale_generation(first: int) -> None:
    """Thousands of interleavings of changes, controllers, pods, watches that lag, and restarts of the operator."""
    for seed in range(first, first + BLOCK):
        world = World(seed)
        for _ in range(STEPS):
            world.step()


def test_ready_in_the_end() -> None:
    """Once all has come to rest and was seen, the newest generation is ready: the check above is not met by silence."""
    for seed in range(100):
        world = World(seed)
        for _ in range(STEPS):
            world.step()
        for _ in range(20):
            world.catch_up()
            world.reconcile()
            world.controller()
            world.pods.append(
                tuple(one | {"status": {"conditions": [{"type": "Ready", "status": "True"}]}} for one in world.pods[-1])
            )
        assert world.is_ready, (seed, world.written)
