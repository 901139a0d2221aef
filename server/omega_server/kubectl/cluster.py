"""What kubectl says: objects as JSON, logs, and tunnels to pods."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from omega_server.client.server import ClientError, printable

RESOURCE = "omegavlmdeployments.omegavlm.io"
PORT = 8000
"""Of the server in a pod."""
TUNNEL = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> ")

Object = dict[str, Any]


class Cluster:
    """The cluster that kubectl speaks to."""

    def __init__(self, flags: Sequence[str] = ()) -> None:
        """Args: kubectl's own flags that choose cluster and user. The program is `kubectl`, or what KUBECTL names."""
        self._command = [os.environ.get("KUBECTL") or "kubectl", *flags]

    def resource(self, name: str, namespace: str | None) -> Object:
        """One OmegaVLMDeployment.

        Raises:
            ClientError: there is none of this name, or the cluster does not answer.
        """
        return self.get(RESOURCE, name, namespace=namespace)

    def resources(self, namespace: str | None, *, everywhere: bool = False) -> list[Object]:
        """All of them in a namespace, or everywhere."""
        return self.objects(RESOURCE, namespace=namespace, everywhere=everywhere)

    def get(self, kind: str, name: str, *, namespace: str | None) -> Object:
        """One object, which must exist."""
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name):
            raise ClientError(f"{name} is no name of an object in Kubernetes")
        return json.loads(self._run("get", kind, name, *_in(namespace), "--output=json"))

    def find(self, kind: str, name: str, *, namespace: str | None) -> Object | None:
        """One object, or None."""
        text = self._run("get", kind, name, *_in(namespace), "--ignore-not-found", "--output=json")
        return json.loads(text) if text.strip() else None

    def objects(self, kind: str, *flags: str, namespace: str | None, everywhere: bool = False) -> list[Object]:
        """All objects of a kind."""
        where = ("--all-namespaces",) if everywhere else _in(namespace)
        return json.loads(self._run("get", kind, *where, *flags, "--output=json"))["items"]

    def pods(self, resource: Object, component: str = "server") -> list[Object]:
        """The pods of a resource, oldest first."""
        name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
        selector = f"--selector=omegavlm.io/name={name},app.kubernetes.io/component={component}"
        found = self.objects("pods", selector, namespace=namespace)
        return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def last_words(self, pod: Object) -> str:
        """The last line that the server in a pod logged before it ended; empty if there is none to be had."""
        head = pod["metadata"]
        where = ("--namespace", head["namespace"], head["name"])
        for flags in (("--previous",), ()):
            done = self._call("logs", *where, "--tail=20", *flags)
            lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
            if done.returncode == 0 and lines:
                return lines[-1]
        return ""

    @contextmanager
    def tunnel(self, pod: Object) -> Iterator[str]:
        """The address of a pod's server, while the block runs.

        Raises:
            ClientError: kubectl cannot get there.
        """
        head = pod["metadata"]
        command = [*self._command, "port-forward", f"pod/{head['name']}", f":{PORT}", "--address=127.0.0.1"]
        with self._start([*command, "--namespace", head["namespace"]]) as process:
            try:
                yield f"http://127.0.0.1:{_port(process)}"
            finally:
                process.terminate()

    def _run(self, *arguments: str) -> str:
        done = self._call(*arguments)
        if done.returncode:
            raise _failure(done.stderr)
        return done.stdout

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run([*self._command, *arguments], capture_output=True, text=True, check=False)
        except OSError as error:
            raise self._missing(error) from None

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        except OSError as error:
            raise self._missing(error) from None

    def _missing(self, error: OSError) -> ClientError:
        return ClientError(
            f"{self._command[0]} cannot be run ({error.strerror}): install kubectl, or let KUBECTL name it"
        )


def _port(process: subprocess.Popen[str]) -> int:
    """Where kubectl port-forward listens."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if found := TUNNEL.match(line):
            # It goes on to tell of every connection, and would stand still if nobody read that.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return int(found[1])
    raise _failure(said)


def _in(namespace: str | None) -> tuple[str, ...]:
    return ("--namespace", namespace) if namespace else ()


def _failure(said: str) -> ClientError:
    """What kubectl complained of, in our words where we know more."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = printable(lines[-1]) if lines else "kubectl failed without a word"
    if missing := re.search(rf'\(NotFound\): {re.escape(RESOURCE)} "([^"]+)" not found', last):
        return ClientError(
            f"there is no OmegaVLMDeployment {missing[1]} here: kubectl omega status -A shows all of them"
        )
    if "the server doesn't have a resource type" in last:
        return ClientError("this cluster does not know OmegaVLMDeployments: install the chart omega-vlm")
    theirs = r"^error: |^Error in configuration: |\((NotFound|Forbidden)\)"
    text = re.sub(
        r"^(error: |Error in configuration: |Error from server \(\w+\): |Unable to connect to the server: )", "", last
    )
    return ClientError(text, 2 if re.search(theirs, last) else 1)
