"""One resource in, one endpoint out: the real images on a real kubelet."""

import base64
import io
import json
import os
import statistics
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from omega_schema.resource import OmegaVLMDeployment
from omega_schema.server_config import ServerConfig, config_hash
from stages import questions, release
from stages.console import Console

pytestmark = pytest.mark.alone

Ask = Callable[[questions.Question], str]

CHANGES = int(os.environ.get("LIVE_CHANGES", "30"))
"""Changes of the live configuration under load."""
PATIENCE = 30.0
"""Seconds after which a change counts as lost."""

BAD_PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(b'no').decode()}"}}
PRIVATE_ADDRESS = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:8000/health"}}
BAD_REQUESTS: list[dict[str, Any]] = [
    {"messages": []},
    {"messages": [{"role": "user", "content": [BAD_PICTURE]}]},
    {"messages": [{"role": "user", "content": [PRIVATE_ADDRESS]}]},
    {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 10_000_000},
    {"messages": [{"role": "user", "content": "Hello"}], "temperature": 9},
    {"messages": [{"role": "user", "content": "word " * 20_000}]},
]


def test_pictures_are_answered_right(demo: Any) -> None:
    """At least nine of the ten demo pictures, asked about through the Service with the official client, streaming."""
    out = io.StringIO()
    right, asked = questions.ask_all(Console(out), demo.address, release.NAME)
    assert asked == 10
    assert right >= 9, out.getvalue()


def test_its_line_tells_how_it_is(demo: Any) -> None:
    """`kubectl get ovlm` says what serves, on how many GPUs (none: its engines run on the CPU), and that it is ready."""
    line = demo.cluster.run("kubectl", "-n", release.NAMESPACE, "get", "ovlm", release.NAME, "--no-headers")
    assert line.split()[:5] == [release.NAME, "oci://localhost/omega-demo-model:demo", "0", "1/1", "Ready"]


def test_applying_it_again_changes_nothing(demo: Any) -> None:
    """The same resource applied again gives the same pods, and `kubectl diff` of it is empty."""
    before = [(pod["metadata"]["uid"], pod["metadata"].get("generation")) for pod in demo.pods()]
    said = release.apply(demo.cluster, "localhost")
    assert said.endswith("unchanged")
    demo.cluster.run("kubectl", "-n", release.NAMESPACE, "diff", "-f", str(release.RESOURCE))
    assert [(pod["metadata"]["uid"], pod["metadata"].get("generation")) for pod in demo.pods()] == before


def test_a_bad_request_hurts_nobody_else(demo: Any, ask: Ask) -> None:
    """Bad requests get a 4xx in OpenAI's form, and the good ones beside them the answers that they get alone."""
    good = questions.read()[:4]
    alone = [ask(question) for question in good]

    def send(body: dict[str, Any]) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as caught:
            demo.client.chat.completions.create(**{"model": release.NAME, **body})
        return caught.value

    with ThreadPoolExecutor(len(good) + len(BAD_REQUESTS)) as pool:
        answers = [pool.submit(ask, question) for question in good]
        refusals = [pool.submit(send, body) for body in BAD_REQUESTS]
        assert [answer.result() for answer in answers] == alone
    for body, refusal in zip(BAD_REQUESTS, (future.result() for future in refusals), strict=True):
        error = refusal.response.json()["error"]
        assert 400 <= refusal.status_code < 500, body
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert "Traceback" not in refusal.response.text
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in demo.pods()] == [0]


@pytest.mark.parametrize(
    ("namespace", "workload", "missing", "held"),
    [
        (release.NAMESPACE, f"deployment/{release.NAME}", ["kopf", "kubernetes", "omega_operator"], ["torch"]),
        (release.OPERATOR_NAMESPACE, "deployment/omega-vlm", ["torch", "transformers", "omega_server"], ["kopf"]),
    ],
    ids=["server", "operator"],
)
def test_an_image_holds_its_own_side_only(
    demo: Any, namespace: str, workload: str, missing: list[str], held: list[str]
) -> None:
    """The server's container has no kopf, the operator's no torch; neither is root, can write, or has pip."""
    script = (
        "import importlib.util as u, json, os; "
        f"print(json.dumps([[n for n in {[*missing, *held, 'pip']} if u.find_spec(n)], os.getuid(), os.access('/opt', 2)]))"
    )
    told = demo.cluster.run("kubectl", "-n", namespace, "exec", workload, "--", "python", "-c", script)
    assert json.loads(told.splitlines()[-1]) == [held, 65532, False]


def test_changes_under_load(demo: Any, load: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of many changes reaches the pod while requests run; none of these fails, and nothing restarts."""
    before = [pod["metadata"]["uid"] for pod in demo.pods()]
    seconds = []
    with load:
        for number in range(CHANGES):
            started = time.monotonic()
            changed = demo.patch(change(number))
            wanted = config_hash(ServerConfig.of(OmegaVLMDeployment.parse(changed).spec).to_json())
            while applied(demo.address) != wanted:
                assert time.monotonic() < started + PATIENCE, f"change {number} never arrived: {change(number)}"
                time.sleep(0.05)
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
    until(lambda: says_applied(demo.resource), PATIENCE, told=lambda: demo.resource["status"])


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
        until(lambda: is_refused() == (most == 1), PATIENCE)  # noqa: B023


def test_keys_are_rotated_without_a_restart(demo: Any, client_of: Callable[[str, str], openai.OpenAI]) -> None:
    """With a Secret of keys a request needs one; a key that is added works, and one that is removed no longer does.

    The last one of this file, for it leaves the demo with keys.
    """

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


def change(number: int) -> dict[str, Any]:
    """The spec's part that change ``number`` sets: pictures and generation in turn, never the same value twice."""
    if number % 2:
        return {"generation": {"defaults": {"maxNewTokens": 32 + number}}}
    return {"images": {"maxSize": 512 + 8 * number}}


def applied(address: str) -> str | None:
    """The hash of the configuration that the server says it uses."""
    with urllib.request.urlopen(f"{address}/ready", timeout=5) as answer:
        told: str | None = json.load(answer)["config"]["hash"]
        return told


def says_applied(resource: dict[str, Any]) -> bool:
    """Whether the status says, of the resource as it is now, that its configuration runs everywhere."""
    (applied,) = (one for one in resource["status"]["conditions"] if one["type"] == "ConfigApplied")
    return (applied["status"], applied["observedGeneration"]) == ("True", resource["metadata"]["generation"])


def until(holds: Callable[[], bool], seconds: float, told: Callable[[], Any] = lambda: "") -> None:
    """Wait until ``holds()``; the test fails after ``seconds``, with what is told then."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {told()}"
        time.sleep(0.1)
