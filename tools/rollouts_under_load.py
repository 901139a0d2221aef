"""Whether rollouts cut streams or fail requests: 20 of them on the local cluster, with two replicas, under streaming load.

    .venv/bin/python tools/rollouts_under_load.py [--rollouts 20] [--clients 6]

The real kubelet runs the server's image with the demo model (both are built unless they are there: make demo does), and the
operator of this checkout replaces the pods again and again. Clients stream answers through the Service all the time, half of
them over connections that they keep, half over a new one for each request, and none of them tries twice. A stream is cut when
it began with status 200 and did not end with [DONE]; every other request that gets no whole answer has failed. Exit code 1 if
one was cut or has failed.
"""

import argparse
import contextlib
import json
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0:1] = [str(ROOT / folder) for folder in ("tools", "demo")]

import httpx  # noqa: E402

import operator_process  # noqa: E402
from cluster import go_tools  # noqa: E402
from cluster.places import PLACES  # noqa: E402
from stages import images, questions  # noqa: E402
from stages.cluster import Cluster  # noqa: E402

NAME = "vl"
PATIENCE = 300.0
"""Seconds for one rollout."""


@dataclass
class Load:
    """Clients that stream one answer after another, and what became of it."""

    address: str
    whole: int = 0
    failures: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def ask(self, number: int) -> None:
        """One client, until it is told to stop."""
        headers = {} if number % 2 else {"Connection": "close"}
        asked = questions.read()
        with httpx.Client(base_url=self.address, timeout=120, trust_env=False, headers=headers) as client:
            while not self.stopped.is_set():
                self._stream(client, asked[number % len(asked)].content, 20 + number * 37 % 200)
                number += 1

    def _stream(self, client: httpx.Client, content: Any, tokens: int) -> None:
        body = {
            "messages": [{"role": "user", "content": content}],
            "stream": True,
            "min_tokens": tokens,
            "max_tokens": tokens,
        }
        begun, last = False, ""
        try:
            with client.stream("POST", "/v1/chat/completions", json=body) as response:
                begun = response.status_code == httpx.codes.OK
                for line in response.iter_lines():
                    last = line or last
            if begun and last == "data: [DONE]":
                self.whole += 1
            else:
                what = "cut" if begun else f"failed with {response.status_code}"
                self.failures.append(f"{what}: ended with {last[:200]}")
        except httpx.HTTPError as error:
            self.failures.append(f"{'cut' if begun else 'failed'}: {error!r}")


@dataclass(frozen=True)
class Service:
    """The resource in a namespace of its own."""

    cluster: Cluster
    namespace: str

    def roll(self, number: int) -> float:
        """Replace all pods, and wait until only new ones are there; the seconds it took."""
        began = time.monotonic()
        patch = {"spec": {"pod": {"annotations": {"example.com/rollout": str(number)}}}}
        self.kubectl("patch", "ovlm", NAME, "--type=merge", f"--patch={json.dumps(patch)}")
        self.wait()
        return time.monotonic() - began

    def wait(self) -> None:
        """Wait until the resource is Ready for what it says now, and no older pod is left.

        Raises:
            TimeoutError: it does not become so.
        """
        deadline = time.monotonic() + PATIENCE
        while not self._is_rolled_out():
            if time.monotonic() > deadline:
                raise TimeoutError(self.kubectl("get", "ovlm,pods", "-o", "wide"))
            time.sleep(0.5)

    def _is_rolled_out(self) -> bool:
        found = self.cluster.get("-n", self.namespace, "ovlm", NAME)
        pods = self.cluster.get("-n", self.namespace, "pods").get("items", ())
        ready = [one for one in found.get("status", {}).get("conditions", ()) if one["type"] == "Ready"]
        newest = [one for one in ready if one["observedGeneration"] == found["metadata"]["generation"]]
        return len(pods) == found["spec"]["replicas"] and any(one["status"] == "True" for one in newest)

    @property
    def address(self) -> str:
        """Of the Service, for this machine."""
        spec = self.cluster.get("-n", self.namespace, "service", NAME)["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl says, in the namespace."""
        return self.cluster.run("kubectl", "-n", self.namespace, *arguments, stdin=stdin)


@contextlib.contextmanager
def _service() -> Iterator[Service]:
    cluster = Cluster(PLACES.kubeconfig, go_tools.ensure(["kubectl", "helm"]), own=True)
    for image in (images.MODEL, images.SERVER):
        images.provide(cluster, image, "localhost", show=lambda line: print(line, file=sys.stderr))
    service = Service(cluster, f"rollouts-{uuid.uuid4().hex[:6]}")
    cluster.run("kubectl", "create", "namespace", service.namespace)
    try:
        with operator_process.running([service.namespace], images.SERVER.reference("localhost")):
            service.kubectl("apply", "-f", "-", stdin=json.dumps(_resource()))
            service.wait()
            yield service
    finally:
        cluster.run("kubectl", "delete", "namespace", service.namespace, "--wait=false")


def _resource() -> dict[str, Any]:
    small = {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "3Gi"}}
    spec = {
        "replicas": 2,
        "model": {"source": "oci://localhost/omega-demo-model:demo", "maxLength": 2048, "dtype": "float32"},
        "gpu": {"count": 1, "device": "cpu"},
        "rollout": {"drainSeconds": 60},
        "pod": {"resources": small, "sharedMemory": "256Mi"},
    }
    return {
        "apiVersion": "omegavlm.io/v1alpha1",
        "kind": "OmegaVLMDeployment",
        "metadata": {"name": NAME},
        "spec": spec,
    }


def main() -> int:
    """Roll out under load, and print what became of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--clients", type=int, default=6)
    given = parser.parse_args()
    shown = 0
    with _service() as service:
        load = Load(service.address)
        with ThreadPoolExecutor(given.clients) as pool:
            for number in range(given.clients):
                pool.submit(load.ask, number)
            try:
                for number in range(given.rollouts):
                    took = service.roll(number)
                    print(
                        f"rollout {number + 1}: {took:.0f} s, {load.whole} streams, {len(load.failures)} failed",
                        flush=True,
                    )
                    print("".join(f"  {failure}\n" for failure in load.failures[shown:]), end="", flush=True)
                    shown = len(load.failures)
            finally:
                load.stopped.set()
    cut = sum(failure.startswith("cut") for failure in load.failures)
    failed = len(load.failures) - cut
    print(f"{given.rollouts} rollouts of 2 replicas under {load.whole} streams: {cut} cut, {failed} requests failed")
    return bool(load.failures)


if __name__ == "__main__":
    sys.exit(main())
