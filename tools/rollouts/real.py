"""The same states on the local cluster: its API server, controllers and scheduler, and the operator as a process.

Nodes and pods are kwok's, with an own kwok that takes seconds over what a kubelet takes minutes over: to start a pod, and
to end one. All nodes of a state carry a label and a taint of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import operator_process
from cluster import go_tools, gpus
from cluster.places import PLACES
from faults.world import connect
from omega_operator import pod
from omega_operator.api import Api, NoAnswer, NotFound
from omega_operator.kinds import NODE, POD, QUOTA, RESOURCE, Kind
from rollouts.judge import Ending
from rollouts.simulation import Simulation
from rollouts.states import GPU, HOSTNAME, POOL, Json, Machine, State, spec, state

MARK = "omegavlm.io/rollouts"
"""Label and taint of the nodes of a state, and annotation by which our kwok knows them."""

NAMESPACE = Kind("v1", "Namespace", "namespaces")
QUIET = 45.0
"""Seconds for which a stalled resource must have said the same: longer than a new pod waits for room."""

LONGEST = 300.0
"""Seconds after which a rollout is stuck."""


@dataclass
class Place:
    """A state, where it takes place."""

    state: State
    name: str
    """Of the namespace, and of the nodes before their number."""

    versions: list[tuple[int, Json]] = field(default_factory=list)
    """What the watches brought: resource version and event."""


async def run(numbers: range) -> list[Ending]:
    """Roll out in these states at the same time.

    Raises:
        TimeoutError: the operator does not start, or a resource has no status after a minute.
    """
    go_tools.ensure(["kwok", "kubectl"])
    run_id = uuid.uuid4().hex[:6]
    # A rival would come at another time than in the simulation, and what is possible would be another thing.
    places = [Place(replace(state(number), rival=0), f"rollouts-{run_id}-{number}") for number in numbers]
    async with connect(PLACES.kubeconfig) as api:
        with tempfile.TemporaryDirectory() as scratch:
            async with _kwok(run_id, Path(scratch)):
                try:
                    await asyncio.gather(*(_furnish(api, place, run_id) for place in places))
                    with operator_process.running([place.name for place in places]):
                        return await asyncio.gather(*(_roll(api, place) for place in places))
                finally:
                    await asyncio.gather(*(_clear(api, place) for place in places))


async def _roll(api: Api, place: Place) -> Ending:
    one, path = place.state, RESOURCE.path(place.name)
    body = {"apiVersion": RESOURCE.api_version, "kind": RESOURCE.name, "metadata": {"name": "vl"}}
    await api.request("POST", path, body=body | {"spec": _spec(place, one, "before")})
    await _rest(api, place, quiet=5.0)
    pods = await api.list(POD, place.name)
    ours = [found for found in pods if MARK not in found["metadata"].get("labels", {})]
    before = sum(map(pod.is_ready, ours))
    possible, could_keep_one = _foresee(place, ours)
    async with _watch(place, "pods"), _watch(place, RESOURCE.plural):
        patch = {"spec": _spec(place, one, "after")}
        await api.request("PATCH", f"{path}/vl", body=patch, content_type="application/merge-patch+json")
        conditions = await _rest(api, place, quiet=QUIET)
    fewest, undeclared = _history(place)
    pods = [found for found in await api.list(POD, place.name) if MARK not in found["metadata"].get("labels", {})]
    new = sum(pod.is_ready(found) and _model(found) == one.after.model for found in pods)
    return Ending(
        state=one,
        conditions=conditions,
        new=new,
        old=sum(map(pod.is_ready, pods)) - new,
        before=before,
        fewest=min(fewest, before),
        possible=possible,
        could_keep_one=could_keep_one,
        undeclared=tuple(undeclared),
    )


def _foresee(place: Place, ours: list[Json]) -> tuple[int, bool]:
    """What the cluster could do, by the simulation's own arithmetic."""
    model = Simulation(place.state)
    for found in ours:
        if name := found["spec"].get("nodeName"):
            found["spec"]["nodeName"] = name.removeprefix(f"{place.name}-")
        found["metadata"]["namespace"] = "vision"
    model.pods = ours
    return model.possible([]), model.can_keep_one()


async def _rest(api: Api, place: Place, quiet: float) -> dict[str, Json]:
    """Wait until the resource is ready, or has been stalled for long enough; its conditions by their type."""
    began = since = time.monotonic()
    last: Any = None
    while True:
        found = await api.get(RESOURCE, place.name, "vl")
        assert found is not None, "we have just made it"
        conditions = {one["type"]: one for one in found.get("status", {}).get("conditions", ())}
        is_newest = found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]
        now, said = time.monotonic(), [(one["reason"], one["message"]) for one in conditions.values()]
        since, last = (since, last) if said == last else (now, said)
        if is_newest and conditions["Ready"]["status"] == "True":
            return conditions
        if is_newest and conditions["Stalled"]["status"] == "True" and now - since > quiet:
            return conditions
        if now - began > LONGEST:
            return conditions
        await asyncio.sleep(0.5)


def _history(place: Place) -> tuple[int, list[str]]:
    """The fewest pods that served at any moment, and moments at which nothing did though nobody had said so."""
    ready: dict[str, bool] = {}
    fewest, undeclared, said = sys.maxsize, [], ""
    begun = False
    for _, event in sorted(place.versions, key=lambda entry: entry[0]):
        thing = event["object"]
        if thing["kind"] == RESOURCE.name:
            status = thing.get("status", {})
            (said,) = [one["reason"] for one in status.get("conditions", ()) if one["type"] == "Ready"] or [""]
            begun = begun or thing["spec"]["model"]["name"] == place.state.after.model
            continue
        served = sum(ready.values())
        ready[pod.name(thing)] = event["type"] != "DELETED" and pod.is_ready(thing)
        if begun:
            fewest = min(fewest, sum(ready.values()))
            if served and not sum(ready.values()) and said != "Downtime":
                undeclared.append(f"the status said {said}")
    return fewest, undeclared


@contextlib.asynccontextmanager
async def _watch(place: Place, what: str) -> AsyncIterator[None]:
    """Collect every version of some objects of the namespace; those that are there come first."""
    command = (go_tools.binary("kubectl"), f"--kubeconfig={PLACES.kubeconfig}", "get", what, "--watch")
    options = ("--output-watch-events", "--output=json", "-n", place.name, f"--selector=!{MARK}")
    process = await asyncio.create_subprocess_exec(*command, *options, stdout=asyncio.subprocess.PIPE)
    reading = asyncio.create_task(_read(process, place))
    await asyncio.sleep(2)  # until it has begun
    try:
        yield
    finally:
        await asyncio.sleep(1)  # what is still on its way
        process.terminate()
        await process.wait()
        await reading


async def _read(process: asyncio.subprocess.Process, place: Place) -> None:
    assert process.stdout is not None, "it was asked for"
    decoder, text = json.JSONDecoder(), ""
    while more := await process.stdout.read(65536):
        text += more.decode()
        while text := text.lstrip():
            try:
                event, end = decoder.raw_decode(text)
            except ValueError:
                break
            place.versions.append((int(event["object"]["metadata"]["resourceVersion"]), event))
            text = text[end:]


def _spec(place: Place, one: State, when: str) -> Json:
    made = spec(one.before if when == "before" else one.after, one)
    selector = made["pod"].setdefault("nodeSelector", {})
    selector[MARK] = place.name
    if when == "after" and POOL not in selector:
        selector[POOL] = None  # in a merge patch: not any more
    made["pod"].setdefault("affinity", None if when == "after" else {})
    made["pod"]["tolerations"] = [{"key": MARK, "operator": "Exists"}]
    return made


def _model(found: Json) -> str:
    (server,) = found["spec"]["containers"]
    return next((one["value"] for one in server["env"] if one["name"] == "MODEL_NAME"), "")


async def _furnish(api: Api, place: Place, run_id: str) -> None:
    await api.request("POST", NAMESPACE.path(), body={"metadata": {"name": place.name}})
    if place.state.quota is not None:
        hard = {f"requests.{GPU}": str(place.state.quota + sum(sum(one.taken) for one in place.state.machines))}
        body = {"metadata": {"name": "few"}, "spec": {"hard": hard}}
        await api.request("POST", QUOTA.path(place.name), body=body)
    for index, machine in enumerate(place.state.machines):
        node = _node(place, index, machine, run_id)
        await api.request("POST", NODE.path(), body=node)
        await api.request(
            "PATCH",
            NODE.path(name=node["metadata"]["name"]) + "/status",
            body={"status": node["status"]},
            content_type="application/merge-patch+json",
        )
        for number, taken in enumerate(machine.taken):
            await _created(api, POD.path(place.name), _other(place, index, number, taken))


async def _created(api: Api, path: str, body: Json) -> None:
    """A pod needs the default service account of its namespace, which comes a moment later."""
    for _ in range(100):
        with contextlib.suppress(Exception):
            await api.request("POST", path, body=body)
            return
        await asyncio.sleep(0.1)
    await api.request("POST", path, body=body)


def _node(place: Place, index: int, machine: Machine, run_id: str) -> Json:
    made = gpus.fake_node(f"{place.name}-n{index}", machine.gpus)
    head = made["metadata"]
    head["annotations"] = {MARK: run_id}
    head["labels"] |= {"type": "rollouts", HOSTNAME: head["name"], POOL: machine.pool, MARK: place.name}
    closed = [{"key": "omega-closed", "effect": "NoSchedule"}] if machine.tainted else []
    made["spec"]["taints"] = [{"key": MARK, "value": place.name, "effect": "NoSchedule"}, *closed]
    return made


def _other(place: Place, index: int, number: int, taken: int) -> Json:
    """A pod that is on its node already, past the scheduler."""
    container = {"name": "other", "image": "none", "resources": {"limits": {GPU: str(taken)}}}
    return {
        "metadata": {"name": f"other-{index}-{number}", "labels": {MARK: "other"}},
        "spec": {
            "nodeName": f"{place.name}-n{index}",
            "containers": [container],
            "tolerations": [{"operator": "Exists"}],
        },
    }


async def _clear(api: Api, place: Place) -> None:
    """First the pods, which only their kubelets can end, then the nodes."""
    await _gone(api, NAMESPACE.path(name=place.name))
    for _ in range(60):
        with contextlib.suppress(NoAnswer):
            if not await api.list(POD, place.name):
                break
        await asyncio.sleep(1)
    for index in range(len(place.state.machines)):
        await _gone(api, NODE.path(name=f"{place.name}-n{index}"))


async def _gone(api: Api, path: str) -> None:
    """Nothing of ours stays, also where the API server has much to do."""
    for _ in range(20):
        try:
            await api.request("DELETE", path)
        except NotFound:
            return
        except NoAnswer:
            await asyncio.sleep(3)
        else:
            return
    print(f"left behind, because the API server does not answer: {path}", file=sys.stderr)


@contextlib.asynccontextmanager
async def _kwok(run_id: str, scratch: Path) -> AsyncIterator[None]:
    """Kubelets for our nodes, who take their time."""
    slow = {"pod-ready": (3000, 8000), "pod-gone": (2000, 6000)}
    stages = gpus.stages()
    for stage in stages:
        if times := slow.get(stage["metadata"]["name"]):
            stage["spec"]["delay"] = {"durationMilliseconds": times[0], "jitterDurationMilliseconds": times[1]}
    (scratch / "kwok.json").write_text("\n---\n".join(json.dumps(stage) for stage in stages))
    arguments = (
        f"--kubeconfig={PLACES.kubeconfig}",
        f"--config={scratch / 'kwok.json'}",
        f"--manage-nodes-with-annotation-selector={MARK}={run_id}",
        "--node-lease-duration-seconds=40",
        f"--cidr={gpus.FAKE_PODS}",
    )
    async with _process(scratch / "kwok.log", str(go_tools.binary("kwok")), *arguments):
        yield


@contextlib.asynccontextmanager
async def _process(log: Path, *command: str) -> AsyncIterator[None]:
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out)
    try:
        yield
        if process.returncode is not None:
            raise RuntimeError(f"{command[0]} ended by itself:\n{_last_words(log)}")
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()


def _last_words(log: Path) -> str:
    return log.read_text()[-2000:]
