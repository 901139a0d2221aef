"""Keys are rotated in a Secret. The last of the files: it leaves behind pods that are still ending."""

import json
import time
from collections.abc import Callable
from typing import Any

import openai

from stages import release


def test_keys_are_rotated_without_a_restart(demo: Any, client_of: Callable[[str, str], openai.OpenAI]) -> None:
    """With a Secret of keys a request needs one; a key that is added works, and one that is removed no longer does."""

    def is_taken(key: str) -> bool:
        # A connection of its own: the Service must choose a pod for it now.
        with client_of(demo.address, key) as client:
            try:
                client.models.list()
            except openai.AuthenticationError:
                return False
        return True

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "demo-keys"}, "stringData": {"a": "first"}}
    demo.cluster.run("kubectl", "-n", release.NAMESPACE, "apply", "-f", "-", stdin=json.dumps(secret))
    demo.patch({"auth": {"secretRef": {"name": "demo-keys"}}})
    release.wait_ready(demo.cluster, show=lambda line: None)
    # The pod without keys may get a connection until the Service has forgotten it.
    until(lambda: is_taken("first") and not is_taken("second"), 30)
    before = {pod["metadata"]["uid"] for pod in demo.pods() if "deletionTimestamp" not in pod["metadata"]}

    patch = json.dumps({"data": {"a": None}, "stringData": {"b": "second"}})
    demo.cluster.run("kubectl", "-n", release.NAMESPACE, "patch", "secret", "demo-keys", f"--patch={patch}")

    def is_rotated() -> bool:
        # The kubelet brings a changed Secret to a pod in its own time, which is a minute, or when the pod changes.
        nudge = f"nudged={time.time_ns()}"
        demo.cluster.run("kubectl", "-n", release.NAMESPACE, "annotate", "pods", "--all", "--overwrite", nudge)
        return is_taken("second") and not is_taken("first")

    until(is_rotated, 150)
    after = [pod for pod in demo.pods() if "deletionTimestamp" not in pod["metadata"]]
    assert {pod["metadata"]["uid"] for pod in after} == before
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in after] == [0]
    demo.patch({"auth": None})
    release.wait_ready(demo.cluster, show=lambda line: None)


def until(holds: Callable[[], bool], seconds: float) -> None:
    """Wait until ``holds()``; the test fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.2)
