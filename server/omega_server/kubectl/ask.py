"""kubectl omega chat and bench: the command omega's question and load, through a tunnel to a resource by its name."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from omega_server.client import chat
from omega_server.client.server import ClientError, Server
from omega_server.kubectl.cluster import Cluster, Object
from omega_server.kubectl.keys import key_of
from omega_server.kubectl.status import pod_state


def run_chat(cluster: Cluster, options: argparse.Namespace) -> None:
    """Ask a resource, and print the answer.

    Raises:
        ClientError: there is no such resource, no pod of it is ready, a picture cannot be read, or the server refuses.
    """
    resource = cluster.resource(options.name, options.namespace)
    with _server(cluster, resource) as address:
        chat.run(Server(address, key_of(cluster, resource), options.timeout), options)


def run_bench(cluster: Cluster, name: str, namespace: str | None, flags: Sequence[str]) -> None:
    """Put load on one replica of a resource, and print what was measured.

    Raises:
        ClientError: as for chat; or a flag is wrong, or a package that the load needs is missing.
    """
    try:
        from omega_server.bench.command import BenchError, bench  # noqa: PLC0415 - it needs more than the standard library
    except ImportError as error:
        raise ClientError(f"bench needs the Python package {error.name}: pip install aiohttp orjson pillow") from None

    program = "kubectl omega bench NAME"
    try:
        if {"-h", "--help"} & set(flags):
            bench(["--help"], program, url="")
        resource = cluster.resource(name, namespace)
        with _server(cluster, resource) as address:
            key = key_of(cluster, resource)
            print(bench([*(["--api-key", key] if key else []), *flags], program, url=address))
    except BenchError as error:
        raise ClientError(str(error), error.code) from None


@contextmanager
def _server(cluster: Cluster, resource: Object) -> Iterator[str]:
    name, pods = resource["metadata"]["name"], cluster.pods(resource)
    ready = [pod for pod in pods if pod_state(pod) == "Ready"]
    if not ready:
        raise ClientError(f"no pod of {name} is ready: kubectl omega why {name} says why", 1)
    if len(ready) > 1:
        print(f"omega: asking {ready[0]['metadata']['name']}, one of {len(ready)} replicas", file=sys.stderr)
    with cluster.tunnel(ready[0]) as address:
        yield address
