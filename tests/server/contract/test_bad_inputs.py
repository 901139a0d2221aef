"""The contract of bad inputs: each has its exact answer, and leaves the server and its neighbours alone."""

import json
import re
from typing import Any

import httpx
import pytest
from bad_inputs import ANSWERED, REFUSED, SITE, Case
from demo_server import KEY, Configured, circle, shown, uri
from neighbour import Neighbour

pytestmark = pytest.mark.timeout(1200)  # the first test waits for the server

INSIDE = {
    "an address in memory": r"0x[0-9a-fA-F]{4,}",
    "a path": r"(?<![\w.:/])/(?:app|dev|etc|home|opt|proc|root|tmp|usr|var|work)\b",
    "a traceback": r"Traceback|File \"|line \d+, in ",
    "an IP address": r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[?[0-9a-f]{0,4}::[0-9a-f]{1,4}",
    "what was sent": r"[A-Za-z0-9+/]{40,}",
    "the key": re.escape(KEY),
    "a class": r"<[\w.]+ object|Error\b|Exception\b",
}
"""What an error must not say."""


def ask(server: Configured, body: Any, site: str) -> httpx.Response:
    """The answer to a body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    content = content.replace(SITE.encode(), site.encode())
    return server.client.post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("case", REFUSED, ids=[f"{case.row}-{index}-{case.name}" for index, case in enumerate(REFUSED)])
def test_refused(server: Configured, neighbour: Neighbour, site: str, case: Case) -> None:
    """A bad body has its exact answer, which tells nothing about the inside."""
    neighbour.in_flight()
    response = ask(server, case.body, site)
    error = response.json()["error"]
    got = (response.status_code, error["type"], error["code"], error["param"])
    assert got == (case.status, "invalid_request_error", case.code, case.param), error
    assert set(error) == {"message", "type", "param", "code"}
    told = {name: found for name, pattern in INSIDE.items() if (found := re.findall(pattern, error["message"]))}
    assert not told, error
    assert 10 <= len(error["message"]) < 500


@pytest.mark.parametrize("row", ANSWERED, ids=[f"{number}-{name}" for number, name, _ in ANSWERED])
def test_answered(server: Configured, neighbour: Neighbour, site: str, row: tuple[int, str, dict[str, Any]]) -> None:
    """An odd body that is good has an answer."""
    neighbour.in_flight()
    response = ask(server, {**row[2], "max_tokens": 2}, site)
    assert response.status_code == 200, response.text


def test_a_name_decides_nothing(server: Configured) -> None:
    """Row 58: under a name that another picture had, also in the same request, each picture gets its own answer."""

    def told(colours: list[str], names: list[str]) -> Any:
        parts = [
            {**part, "uuid": name} if part["type"] == "image_url" and name else part
            for colour, name in zip(colours, names, strict=True)
            for part in shown(uri(circle(colour)))
        ]
        return server.chat(parts, max_tokens=8).json()["choices"][0]["message"]["content"]

    alone = {colour: told([colour], [""]) for colour in ("red", "blue")}
    assert alone["red"] != alone["blue"]
    assert {colour: told([colour], ["mine"]) for colour in ("red", "blue", "red")} == alone
    for colours in (["red", "blue"], ["blue", "red"]):
        assert told(colours, ["mine", "mine"]) == told(colours, ["", ""])
    assert "media=['mine']" in server.log.read_text()


def test_neighbour(server: Configured, neighbour: Neighbour) -> None:
    """After all that the neighbour had nothing but the answer that it has alone, and no engine was started again."""
    assert len(neighbour.answers) > 3
    assert set(neighbour.answers) == {neighbour.alone}
    assert [engine["restarts"] for engine in server.client.get("/health").json()["engines"]] == [0]


@pytest.mark.parametrize("word", ["image", "video"])
def test_failed_downloads_look_alike(server: Configured, site: str, word: str) -> None:
    """Rows 53 and 54: every failed download has one answer to the byte, or it would tell what is inside."""
    answers = {ask(server, case.body, site).content for case in REFUSED if case.code == f"failed_to_download_{word}"}
    assert len(answers) == 1
