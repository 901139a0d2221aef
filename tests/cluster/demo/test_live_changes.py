"""Changes of the live configuration under load: no restart, no failed request, and soon."""

import json
import os
import statistics
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from omega_schema.resource import OmegaVLMDeployment
from omega_schema.server_config import ServerConfig, config_hash
from stages import questions, release

CHANGES = int(os.environ.get("LIVE_CHANGES", "30"))
STREAMS = 2
PATIENCE = 30.0
"""Seconds after which a change counts as lost."""


def change(number: int) -> dict[str, Any]:
    """The spec's part that change ``number`` sets: pictures and generation in turn, never the same value twice."""
    if number % 2:
        return {"generation": {"defaults": {"maxNewTokens": 32 + number}}}
    return {"images": {"maxSize": 512 + 8 * number}}


class Load:
    """Clients that ask one question after another, streaming, until told to stop."""

    def __init__(self, demo: Any) -> None:
        self.demo = demo
        self.answered = 0
        self.failures: list[str] = []
        self._stopped = threading.Event()

    def __enter__(self) -> "Load":
        self._pool = ThreadPoolExecutor(STREAMS)
        for number in range(STREAMS):
            self._pool.submit(self._ask, number)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()

    def _ask(self, number: int) -> None:
        asked = questions.read()
        while not self._stopped.is_set():
            messages: Any = [{"role": "user", "content": asked[number % len(asked)].content}]
            number += 1
            try:
                stream = self.demo.client.chat.completions.create(model=release.NAME, messages=messages, stream=True)
                reasons = [chunk.choices[0].finish_reason for chunk in stream if chunk.choices]
            except openai.OpenAIError as error:
                self.failures.append(repr(error))
            else:
                self.answered += 1
                if reasons[-1:] not in (["stop"], ["length"]):
                    self.failures.append(f"ended with {reasons[-1:]}")


def applied(address: str) -> str | None:
    """The hash of the configuration that the server says it uses."""
    with urllib.request.urlopen(f"{address}/ready", timeout=5) as answer:
        told: str | None = json.load(answer)["config"]["hash"]
        return told


def says_applied(resource: dict[str, Any]) -> bool:
    """Whether the status says, of the resource as it is now, that its configuration runs everywhere."""
    (applied,) = (one for one in resource["status"]["conditions"] if one["type"] == "ConfigApplied")
    return (applied["status"], applied["observedGeneration"]) == ("True", resource["metadata"]["generation"])


def test_changes_under_load(demo: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of many changes reaches the pod while requests run; none of these fails, and nothing restarts."""
    before = [pod["metadata"]["uid"] for pod in demo.pods()]
    seconds = []
    with Load(demo) as load:
        for number in range(CHANGES):
            started = time.monotonic()
            changed = demo.patch(change(number))
            wanted = config_hash(ServerConfig.of(OmegaVLMDeployment.parse(changed).spec).to_json())
            while applied(demo.address) != wanted:
                assert time.monotonic() < started + PATIENCE, f"change {number} never arrived: {change(number)}"
                time.sleep(0.01)
            seconds.append(time.monotonic() - started)
    with capsys.disabled():
        print(  # noqa: T201 - the numbers are what a reader wants to know
            f"\nlive changes: {CHANGES} under {load.answered} requests, {len(load.failures)} failed; from kubectl patch "
            f"to the pod's report: median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s"
        )
    assert load.failures == []
    assert load.answered > 0
    assert [pod["metadata"]["uid"] for pod in demo.pods()] == before
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in demo.pods()] == [0]
    # The operator hears of the last change a moment after the pod has said so to this test.
    deadline = time.monotonic() + PATIENCE
    while not says_applied(demo.resource):
        assert time.monotonic() < deadline, demo.resource["status"]
        time.sleep(0.1)


def test_a_change_does_what_it_says(demo: Any) -> None:
    """A limit of one picture per request refuses two, and lets them through once it is two."""
    picture = questions.read()[0].content[0]
    messages: Any = [{"role": "user", "content": [picture, picture, {"type": "text", "text": "How many?"}]}]

    def is_refused() -> bool:
        try:
            demo.client.chat.completions.create(model=release.NAME, messages=messages, max_tokens=4)
        except openai.BadRequestError:
            return True
        return False

    for most in (1, 2):
        demo.patch({"images": {"maxPerRequest": most}})
        deadline = time.monotonic() + PATIENCE
        while is_refused() != (most == 1):
            assert time.monotonic() < deadline
            time.sleep(0.1)
