"""kubectl omega top: how busy the replicas of resources are, by what their servers measure."""

import argparse
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from omega_server.client.server import ClientError
from omega_server.kubectl import words
from omega_server.kubectl.cluster import Cluster, Object
from omega_server.kubectl.keys import key_of
from omega_server.kubectl.status import pod_state

USAGE = "[NAME] [FLAGS]"
DESCRIPTION = "GPUs, queues and tokens per second of each replica."
TIMEOUT = 10.0
"""Longest silence of a server, in seconds."""
TUNNELS = 16
"""Pods that are asked at once."""
LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")


@dataclass(frozen=True)
class Sample:
    """One series of /metrics."""

    name: str
    labels: str
    value: float

    @property
    def engine(self) -> int:
        """The engine that it is of; 0 if it says none."""
        found = re.search(r'engine="(\d+)"', self.labels)
        return int(found[1]) if found else 0


@dataclass(frozen=True)
class Engine:
    """One engine, now. Memory in bytes, cache as a share of 1."""

    index: int
    ready: bool
    running: int
    waiting: int
    cache: float
    memory: float
    restarts: int


@dataclass(frozen=True)
class Replica:
    """One pod."""

    resource: str
    pod: str
    node: str
    gpus: int
    state: str
    engines: tuple[Engine, ...] = ()
    tokens_per_s: float = 0.0
    """Of answers, in the time between two looks."""

    def measured(self, engines: tuple[Engine, ...], tokens_per_s: float) -> "Replica":
        """The same, with what its server said."""
        return replace(self, engines=engines, tokens_per_s=tokens_per_s)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line after `kubectl omega top`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="of a resource (default: all of the namespace)")
    parser.add_argument("--engines", action="store_true", help="a line for each engine, too")
    text = "time between the two looks that tokens per second come from (default: 1)"
    parser.add_argument("--seconds", type=_seconds, default=1.0, metavar="S", help=text)


def run(cluster: Cluster, options: argparse.Namespace) -> None:
    """Print the table.

    Raises:
        ClientError: there is no such resource, or a server cannot be asked.
    """
    if options.name is not None:
        resources = [cluster.resource(options.name, options.namespace)]
    else:
        resources = cluster.resources(options.namespace, everywhere=options.all_namespaces)
    asked: list[tuple[Object, Object, str | None]] = []
    for resource in resources:
        pods = cluster.pods(resource)
        key = key_of(cluster, resource, scrape=True) if any(_answers(pod) for pod in pods) else None
        asked += [(resource, pod, key) for pod in pods]
    with ThreadPoolExecutor(TUNNELS) as pool:
        looks = [pool.submit(_ask, cluster, *one, seconds=options.seconds) for one in asked]
    print(show([look.result() for look in looks], engines=options.engines))


def show(replicas: Sequence[Replica], *, engines: bool) -> str:
    """A line for each replica, and a sum."""
    if not replicas:
        return "No pods run."
    rows = [
        ["RESOURCE", "POD", "NODE", "STATE", "GPUS", "ENGINES", "RUNNING", "WAITING", "KV CACHE", "TOKENS/S", "MEMORY"]
    ]
    for one in replicas:
        rows.append([one.resource, one.pod, one.node, one.state, str(one.gpus), *_sums([one])])
        rows += [_engine(engine) for engine in one.engines] if engines else []
    if len(replicas) > 1:
        rows.append(["all", "", "", "", str(sum(one.gpus for one in replicas)), *_sums(replicas)])
    return words.table(rows)


def engines_of(samples: Sequence[Sample]) -> tuple[Engine, ...]:
    """The engines that a server's metrics tell of."""
    by_engine: dict[int, dict[str, float]] = {}
    for sample in samples:
        if "engine=" in sample.labels:
            by_engine.setdefault(sample.engine, {})[sample.name] = sample.value
    return tuple(
        Engine(
            index=index,
            ready=said.get("omega_engine_ready", 0) == 1,
            running=int(said.get("omega_num_requests_running", 0)),
            waiting=int(said.get("omega_num_requests_waiting", 0)),
            cache=said.get("omega_kv_cache_usage_perc", 0.0),
            memory=said.get("omega_engine_memory_bytes", 0.0),
            restarts=int(said.get("omega_engine_restarts_total", 0)),
        )
        for index, said in sorted(by_engine.items())
    )


def parse(text: str) -> Iterator[Sample]:
    """The series of a text in Prometheus' format."""
    for line in text.splitlines():
        if found := LINE.match(line):
            yield Sample(found[1], found[2] or "", float(found[3]))


def replica(resource: Object, pod: Object) -> Replica:
    """A pod, before its server is asked."""
    limits = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
    gpu = resource["spec"].get("gpu") or {}
    return Replica(
        resource=resource["metadata"]["name"],
        pod=pod["metadata"]["name"],
        node=pod["spec"].get("nodeName", "-"),
        gpus=int(limits.get(gpu.get("resourceName", "nvidia.com/gpu"), 0)),
        state=pod_state(pod),
    )


def _ask(cluster: Cluster, resource: Object, pod: Object, key: str | None, *, seconds: float) -> Replica:
    found = replica(resource, pod)
    if not _answers(pod):
        return found
    with cluster.tunnel(pod) as address:
        began = time.monotonic()
        before = _tokens(list(parse(_metrics(address, key, found))))
        time.sleep(seconds)
        samples = list(parse(_metrics(address, key, found)))
        rate = (_tokens(samples) - before) / (time.monotonic() - began)
    return found.measured(engines_of(samples), max(rate, 0.0))


def _answers(pod: Object) -> bool:
    return pod_state(pod) == "Ready"


def _metrics(address: str, key: str | None, replica: Replica) -> str:
    request = urllib.request.Request(f"{address}/metrics")  # noqa: S310 - http, by our own tunnel
    if key is not None:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 - likewise
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError as error:
        advice = "; set OMEGA_API_KEY to a key of it" if error.code in (401, 403) else ""
        raise ClientError(f"{replica.pod} answered {error.code} on /metrics{advice}", 2 if advice else 1) from None
    except (OSError, ValueError):
        raise ClientError(
            f"{replica.pod} does not answer on /metrics; kubectl omega why {replica.resource}", 1
        ) from None


def _tokens(samples: Sequence[Sample]) -> float:
    return sum(sample.value for sample in samples if sample.name == "omega_generation_tokens_total")


def _sums(replicas: Sequence[Replica]) -> list[str]:
    engines = [engine for one in replicas for engine in one.engines]
    if not engines:
        return ["-"] * 6
    return [
        f"{sum(engine.ready for engine in engines)}/{len(engines)}",
        str(sum(engine.running for engine in engines)),
        str(sum(engine.waiting for engine in engines)),
        f"{sum(engine.cache for engine in engines) / len(engines):.0%}",
        f"{sum(one.tokens_per_s for one in replicas):.0f}",
        words.size(sum(engine.memory for engine in engines)),
    ]


def _engine(engine: Engine) -> list[str]:
    state = "ready" if engine.ready else "not ready"
    again = f", {engine.restarts} restarts" if engine.restarts else ""
    numbers = [str(engine.running), str(engine.waiting), f"{engine.cache:.0%}", "", words.size(engine.memory)]
    return ["", f"  engine {engine.index}", "", state + again, "", "", *numbers]


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError("must be a number above 0, in seconds")
    return value
