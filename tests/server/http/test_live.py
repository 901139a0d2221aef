"""What changes under a running server: configuration, keys, load."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from demo_server import BASE, KEY, Configured, circle, shown, until, uri

from omega_schema.server_config import config_hash

LONG: dict[str, Any] = {"min_tokens": 600, "max_tokens": 600}


pytestmark = pytest.mark.timeout(1200)  # the first test waits for the server


@pytest.fixture
def changed(server: Configured) -> Iterator[Configured]:
    """The server, whose configuration is put back afterwards."""
    yield server
    server.configure({**BASE, "logLevel": "info"} if server.config()["error"] is None else BASE)


def test_limits_change(changed: Configured) -> None:
    """A new limit counts for the next request, and /ready names the file that counts."""
    two = shown(uri(circle("red"))) * 2
    assert changed.chat(two, max_tokens=1).status_code == 200
    assert changed.configure({**BASE, "images": {**BASE["images"], "maxPerRequest": 1}}) is None
    file = changed.directory / "config.json"
    assert changed.config()["hash"] == config_hash(file.read_bytes())
    refused = changed.chat(two, max_tokens=1)
    assert refused.json()["error"]["code"] == "array_above_max_length"
    assert changed.client.get("/health").json()["vlm_config"]["max_images_per_request"] == 1


def test_defaults_change(changed: Configured) -> None:
    """A new default counts for requests that do not say."""
    assert changed.configure({**BASE, "generation": {"defaults": {"maxNewTokens": 2}}}) is None
    usage = changed.chat(shown(uri(circle("red")), "Describe this image.")).json()["usage"]
    assert usage["completion_tokens"] == 2


def test_bad_file_changes_nothing(changed: Configured) -> None:
    """A file that does not validate is refused with the name of the field; what counted goes on."""
    before = changed.config()
    error = changed.configure({**BASE, "images": {"maxPerRequest": -1}})
    assert error is not None
    assert "images.maxPerRequest" in error
    assert changed.config()["hash"] == before["hash"]
    assert changed.chat(shown(uri(circle("red")))).status_code == 200
    assert "maxPerRequest" in changed.log.read_text()


def test_keys_change(server: Configured) -> None:
    """Keys are added and taken away without a restart; a directory without keys lets nobody in."""
    directory = server.directory.parent / "keys"

    def status(key: str) -> int:
        return server.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code

    assert status("second") == 401
    (directory / "more").write_bytes(b"second")
    until(lambda: status("second") == 200, 10)
    assert status(KEY) == 200
    kept = (directory / "first").read_bytes()
    try:
        for file in directory.iterdir():
            file.unlink()
        until(lambda: status(KEY) == 401, 10)
        assert status("second") == 401
        assert server.client.get("/v1/models", headers={"Authorization": ""}).status_code == 401
    finally:
        (directory / "first").write_bytes(kept)
        until(lambda: status(KEY) == 200, 10)


def test_keys_share_nothing(server: Configured) -> None:
    """What was computed for one API key is known to the next request with it, and to none with another."""
    other = server.directory.parent / "keys" / "other"
    other.write_bytes(b"other-key")

    def ask(key: str) -> httpx.Response:
        words = {"type": "text", "text": "Here is a picture that nobody has asked about before. Look at it closely."}
        body = {"messages": [{"role": "user", "content": [words, *shown(uri(circle("yellow")))]}], "temperature": 0}
        return server.client.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})

    try:
        until(lambda: ask("other-key").status_code == 200, 30)
        answers = [ask(key).json() for key in (KEY, "other-key", KEY)]
    finally:
        other.unlink()
    assert {answer["choices"][0]["message"]["content"] for answer in answers} == {"yellow"}
    cached = [answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in answers]
    assert cached[0] == 0
    assert cached[1] == cached[2] > 16


def test_queue_full(changed: Configured) -> None:
    """Row 59: beyond batch and queue a request is told to come back, at once, and the others are answered."""
    assert changed.configure({**BASE, "batching": {"maxBatchSize": 1, "maxQueue": 1}}) is None
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: changed.chat("hello", **LONG), range(8)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(refused.headers["retry-after"]) >= 1
    texts = {answer.json()["choices"][0]["message"]["content"] for answer in answers if answer.status_code == 200}
    assert len(texts) == 1


def running(server: Configured) -> int:
    """Requests that the engine has."""
    (engine,) = server.client.get("/health").json()["engines"]
    return int(engine["running"] + engine["waiting"])


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up(server: Configured, stream: bool) -> None:
    """A client that hangs up, streaming or not, frees its place in the engine."""
    body = {
        "messages": [{"role": "user", "content": "hello"}],
        "min_tokens": 3500,
        "max_tokens": 3500,
        "stream": stream,
    }
    client = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)

    def ask() -> None:
        try:
            client.post("/v1/chat/completions", json=body, timeout=httpx.Timeout(60, read=0.5 if not stream else 60))
        except httpx.HTTPError:
            return

    if stream:
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            next(response.iter_lines())
            until(lambda: running(server) == 1, 60)  # the engine says so with its next step
    else:
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join()
    client.close()
    until(lambda: running(server) == 0, 5)


def test_engines_name_requests(changed: Configured) -> None:
    """What an engine logs about a request has the id that the client gave it."""
    assert changed.configure({**BASE, "logLevel": "debug"}) is None
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
    for name in ("first-of-mine", "second-of-mine"):
        headers = {"X-Request-Id": name}
        assert changed.client.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    lines = [line for line in changed.log.read_text().splitlines() if "-of-mine" in line and "engine=0" in line]
    told = [(line.split()[2], line.rpartition("request_id=")[2]) for line in lines]
    expected = [(event, name) for name in ("first-of-mine", "second-of-mine") for event in ("Begun", "Answered")]
    assert told == expected


def test_probe_beside_large_bodies(server: Configured) -> None:
    """/live answers while others send large pictures."""
    large = {"messages": [{"role": "user", "content": [{"type": "image", "image": "A" * (2 << 20)}]}]}
    times: list[float] = []
    with ThreadPoolExecutor(8) as pool:
        posts = [pool.submit(server.client.post, "/v1/chat/completions", json=large) for _ in range(16)]
        while not all(post.done() for post in posts):
            began = time.monotonic()
            assert server.client.get("/live").status_code == 200
            times.append(time.monotonic() - began)
    assert {post.result().status_code for post in posts} == {400}
    assert times


def test_log_is_clean(server: Configured) -> None:
    """After all that there is no traceback and no key in the log."""
    log = Path(server.log).read_text()
    assert "Traceback" not in log
    assert KEY not in log
