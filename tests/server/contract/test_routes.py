"""Who may ask what: every route that there is, with every method, with and without a key."""

from pathlib import Path
from typing import Any

import pytest
from demo_server import KEY, ROOT, Configured
from wire import AUTHORIZATION, Answer, connect, exchange, head

from omega_server import settings
from omega_server.app import create_app
from omega_server.playground import PATHS
from omega_server.serving import Serving

pytestmark = pytest.mark.timeout(1200)  # the first test waits for the server

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE")
OPEN = {"/live", "/ready"} | PATHS
NAMES = {"{name:path}": "demo", "/playground/{name}": max(PATHS)}


def routes() -> list[tuple[str, frozenset[str]]]:
    """Path and methods of every route of the application."""
    app = create_app(Serving(settings.read(["--model-path", str(ROOT / "demo" / "model")], {})))
    found: set[tuple[str, frozenset[str]]] = set()
    waiting: list[Any] = list(app.routes)
    while waiting:
        route = waiting.pop()
        if hasattr(route, "original_router"):
            waiting += route.original_router.routes
        else:
            found.add((route.path, frozenset(getattr(route, "methods", None) or ())))
    return sorted(found, key=lambda route: route[0])


def concrete(path: str) -> str:
    """A path that a route answers."""
    for template, name in NAMES.items():
        path = path.replace(template, name)
    return path


ROUTES = routes()
PATHS_ASKED = sorted(
    {concrete(path) for path, _ in ROUTES} | PATHS | {"/nope", "/v1", "//live", "/live/", "/LIVE", "/live;x"}
)
CREDENTIALS = {
    "nothing": [],
    "an empty one": ["Authorization: "],
    "a wrong key": ["Authorization: Bearer wrong"],
    "no scheme": [f"Authorization: {KEY}"],
    "another scheme": [f"Authorization: Basic {KEY}"],
    "capitals": [f"Authorization: Bearer {KEY.upper()}"],
    "one more letter": [f"Authorization: Bearer {KEY}x"],
    "one letter less": [f"Authorization: Bearer {KEY[:-1]}"],
    "no key": ["Authorization: Bearer"],
    "no ASCII": ["Authorization: Bearer \xff\xfe"],
    "look-alikes": [f"Authorization: Bearer {KEY.replace('i', chr(0xED))}"],
    "two headers": [AUTHORIZATION, AUTHORIZATION],
    "two keys": [f"Authorization: Bearer {KEY},{KEY}"],
    "in another header": [f"X-Api-Key: {KEY}", f"Proxy-Authorization: Bearer {KEY}"],
    "in a cookie": [f"Cookie: Authorization=Bearer {KEY}"],
    "a way around": ["X-Original-URL: /live", "X-Rewrite-URL: /live", "X-Forwarded-Prefix: /live"],
}


def ask(server: Configured, method: str, path: str, *fields: str, host: str = "x") -> Answer:
    """The answer to a request without a body."""
    return exchange(server, head(f"{method} {path}", f"Host: {host}", *fields, "Connection: close"))


@pytest.mark.parametrize("path", PATHS_ASKED)
def test_without_a_key(server: Configured, path: str) -> None:
    """Row 7: without a key nothing answers but what must, whatever the method; what must does not ask for one."""
    statuses = {method: status(server, method, path) for method in METHODS}
    if path in OPEN:
        assert statuses["GET"] == 200
        assert 401 not in statuses.values()
    else:
        assert set(statuses.values()) == {401}


def status(server: Configured, method: str, path: str, *fields: str) -> int:
    """The status alone; answers to HEAD announce a body that does not come."""
    with connect(server) as connection:
        connection.sendall(head(f"{method} {path}", "Host: x", *fields, "Connection: close"))
        with connection.makefile("rb") as answer:
            return int(answer.readline().split()[1])


@pytest.mark.parametrize("path", PATHS_ASKED)
def test_with_a_key(server: Configured, path: str) -> None:
    """With a key each route answers its own methods, and names them to the others."""
    known: set[str] = set()
    for template, methods in ROUTES:
        if concrete(template) == path:
            known |= methods
    for method in METHODS:
        got = status(server, method, path, AUTHORIZATION)
        if method in known or (path in PATHS and method == "GET"):
            # A POST has no body here, and so no Content-Type.
            assert got == (415 if method == "POST" else 200)
        else:
            assert got == (405 if known or path in PATHS else 404)


@pytest.mark.parametrize("given", CREDENTIALS.values(), ids=CREDENTIALS)
def test_wrong_keys(server: Configured, given: list[str]) -> None:
    """Row 7: what is no key opens nothing, and the answer is the same whatever was wrong with it."""
    answer = ask(server, "GET", "/v1/models", *given)
    assert (answer.status, answer.code) == (401, "invalid_api_key")
    assert answer.fields["www-authenticate"] == "Bearer"
    assert answer.body == ask(server, "GET", "/v1/models").body


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_scheme_in_any_case(server: Configured, scheme: str) -> None:
    """The scheme, unlike the key, may be written in any case, as HTTP has it."""
    assert ask(server, "GET", "/v1/models", f"Authorization: {scheme} {KEY}").status == 200


@pytest.mark.parametrize("host", ["a/health?x=", "a/live?x=", "x/live#", "localhost", "/live", "x@live", ""])
def test_host(server: Configured, host: str) -> None:
    """Row 8: what the header Host says changes no path."""
    answer = ask(server, "GET", "/v1/models", host=host)
    assert (answer.status, answer.code) == (401, "invalid_api_key")
    assert ask(server, "GET", "/live", host=host).status == 200


@pytest.mark.parametrize(
    "target", ["http://x/v1/models", "http://x/live/../v1/models", "http://live/health", "/%6cive/x"]
)
def test_targets(server: Configured, target: str) -> None:
    """Row 8: a target in absolute form has the path that it has."""
    assert ask(server, "GET", target).status == 401


def test_key_before_body(server: Configured) -> None:
    """Row 7: the key is asked for before the body is; not even its size matters before."""
    for length in ("1000000", "99999999999"):
        sent = head("POST /v1/chat/completions", "Host: x", "Content-Type: text/plain", f"Content-Length: {length}")
        assert exchange(server, sent).code == "invalid_api_key"


def test_documented() -> None:
    """docs/server.md lists each route with its method and whether it needs a key."""
    lines = (ROOT / "docs" / "server.md").read_text().splitlines()
    rows = [[cell.strip().strip("`") for cell in line.split("|")[1:4]] for line in lines if line.startswith("| `/")]
    listed = {(path, frozenset(method.split(", ")), key) for path, method, key in rows if method != "WebSocket"}
    assert {key for _, method, key in rows if method == "WebSocket"} == {"yes"}  # its own tests show that
    routed: set[Any] = {
        (path.replace(":path", ""), methods - {"HEAD"}, "no" if concrete(path) in OPEN else "yes")
        for path, methods in ROUTES
    }
    assert listed == routed


def test_empty_directory(tmp_path: Path) -> None:
    """A directory without keys lets nobody in, not even with nothing."""
    (tmp_path / "keys").mkdir()
    app = settings.read(["--model-path", str(ROOT / "demo" / "model")], {"API_KEYS_DIR": str(tmp_path / "keys")})
    keys = Serving(app).keys
    assert not any(keys.allows(given) for given in ([], [b""], [b"Bearer"], [b"Bearer "], [b"Bearer x"]))
