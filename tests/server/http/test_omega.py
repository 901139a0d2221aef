"""The command `omega`, as people run it: against a real server, and against servers that fail."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from demo_server import KEY, ROOT, Configured, circle, shown, uri

PICTURE = ROOT / "demo" / "pictures" / "04-describe.png"
ANSWER = "A green circle, a green square and a green circle.\n"
GREEDY = ("--temperature", "0")


def omega(*arguments: str, stdin: bytes = b"", key: str | None = KEY, cwd: Path = ROOT) -> tuple[int, str, str]:
    """Run the command: exit code, standard output, standard error."""
    environment = {"PYTHONPATH": f"{ROOT / 'server'}:{ROOT / 'crds'}", "PYTHONWARNINGS": "error"}
    environment |= {} if key is None else {"OMEGA_API_KEY": key}
    done = subprocess.run(
        [sys.executable, "-m", "omega_server.client", *arguments],
        env=environment, cwd=cwd, input=stdin, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@contextmanager
def failing(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """A server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the base class's name

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


def sse(*events: object) -> bytes:
    """A stream of events, without its end."""
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def said(text: str) -> dict[str, object]:
    """A chunk with a piece of an answer."""
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def test_a_picture_is_described(server: Configured) -> None:
    """The answer is on standard output, and what it cost on standard error, if that is wanted."""
    assert omega("chat", server.url, str(PICTURE), "What does the image show?", *GREEDY) == (0, ANSWER, "")
    code, out, err = omega("chat", f"{server.url}/v1/", "--stats", str(PICTURE), "What does the image show?", *GREEDY)
    assert (code, out) == (0, ANSWER)
    usage = server.chat(shown(uri(PICTURE.read_bytes()), "What does the image show?")).json()["usage"]
    assert f"prompt {usage['prompt_tokens']} tokens, image {usage['prompt_tokens_details']['image_tokens']}" in err
    assert re.fullmatch(r"first token \d+\.\d\d s, .* tokens/s\n", err)


def test_several_pictures_in_their_order(server: Configured, tmp_path: Path) -> None:
    """Pictures come before the question, in the order of the command line; the API gives the same answer."""
    for colour in ("red", "blue"):
        (tmp_path / f"{colour}.png").write_bytes(circle(colour))
    question = "Which image shows a blue circle?"
    parts = [*shown(uri(circle("red")))[:1], *shown(uri(circle("blue")), question)]
    expected = server.chat(parts).json()["choices"][0]["message"]["content"]
    ended = omega("chat", server.url, "red.png", "blue.png", question, *GREEDY, cwd=tmp_path)
    assert ended == (0, expected.strip() + "\n", "")


def test_standard_input_is_a_picture_or_the_question(server: Configured) -> None:
    """A dash stands for what comes through a pipe, once."""
    question = "What does the image show?"
    assert omega("chat", server.url, "-", question, *GREEDY, stdin=PICTURE.read_bytes()) == (0, ANSWER, "")
    assert omega("chat", server.url, str(PICTURE), "-", *GREEDY, stdin=question.encode()) == (0, ANSWER, "")
    code, _, err = omega("chat", server.url, "-", "-")
    assert (code, err.count("\n")) == (2, 1)


def test_flags_reach_the_server(server: Configured) -> None:
    """An answer that may not be longer says so, and how to have more."""
    code, out, err = omega("chat", server.url, "--max-tokens", "2", str(PICTURE), "Describe it.", *GREEDY)
    assert (code, out) == (0, "A green\n")
    assert "--max-tokens" in err


def test_models(server: Configured) -> None:
    """One line for each model."""
    length = server.client.get("/v1/models").json()["data"][0]["max_model_len"]
    assert omega("models", server.url) == (0, f"demo\t{length} tokens\n", "")


def test_bench(server: Configured) -> None:
    """The load of omega-server bench, with the key of this command."""
    code, out, _ = omega("bench", server.url, "--requests", "2", "--concurrency", "2")
    assert code == 0
    assert "2 of 2 requests" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("chat", "URL", "hello", "--temperature", "3"), "(400, decimal_above_max_value, temperature)"),
        (("chat", "URL", "hello", "--temperature", "hot"), "invalid float value: 'hot'; see omega chat --help"),
        (("chat", "URL", "hello", "--model", "gpt"), "(404, model_not_found, model)"),
        (("chat", "URL", "nowhere.png", "What is it?"), "nowhere.png cannot be read: No such file or directory"),
        (("chat", "URL", "demo", "What is it?"), "demo cannot be read: Is a directory"),
        (("chat", "URL", "README.md", "What is it?"), "(400, invalid_image_format, messages[0].content[0])"),
        (("chat", "URL", "demo/pictures/04-describe.png"), "there is no question"),
        (("chat", "URL", "-"), "the question is empty"),
        (("chat", "URL", "-", "What is it?"), "standard input is empty"),
        (("chat", "URL"), "see omega chat --help"),
        (("chat", "127.0.0.1:8000", "hello"), "127.0.0.1:8000 is no address of a server: write http://HOST:PORT"),
        (("chat", "file:///etc/passwd", "hello"), "is no address of a server"),
        (("models", "http://127.0.0.1:1"), "cannot be reached (Connection refused)"),
        (("models", "URL", "more"), "unrecognized arguments: more; see omega models --help"),
        (("models", "URL", "--timeout", "0"), "must be a number above 0"),
        (("bench", "URL", "--requests", "0"), "see omega bench --help"),
        (("paint",), "paint: commands are chat, models and bench; see omega --help"),
        ((), "no command: commands are chat, models and bench"),
    ],
)
def test_the_users_faults(server: Configured, arguments: tuple[str, ...], expected: str) -> None:
    """Exit code 2, nothing on standard output, and one line that says what is wrong."""
    code, out, err = omega(*(server.url if word == "URL" else word for word in arguments))
    assert (code, out) == (2, "")
    assert re.fullmatch(r"omega: [^\n]+\n", err)
    assert expected in err


@pytest.mark.parametrize("key", [None, "wrong", "kéy", "two\nlines"])
def test_a_key_that_is_refused(server: Configured, key: str | None) -> None:
    """A missing or wrong key is the user's fault, and never printed."""
    code, out, err = omega("models", server.url, key=key)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "key" in err
    assert key is None or key not in err.replace("key", "", 1)


@pytest.mark.parametrize(
    ("status", "body", "code", "expected"),
    [
        (500, b'{"error": {"message": "Sorry.", "code": "engine_failed", "param": null}}', 1, "(500, engine_failed)"),
        (429, b'{"error": {"message": "Later.", "code": "rate_limit_exceeded"}}', 1, "(429, rate_limit_exceeded)"),
        (503, b"<html>down</html>", 1, "answered 503 Service Unavailable"),
        (404, b"<html>none</html>", 2, "answered 404 Not Found"),
        (200, b"<html>hello</html>", 2, "does not speak the OpenAI API"),
        (200, b"[]", 2, "list of models is none"),
        (200, b'{"data": []}', 1, "the server has no model"),
    ],
)
def test_servers_that_fail(status: int, body: bytes, code: int, expected: str) -> None:
    """Exit code 1 if the server failed, 2 if it is the wrong one; its own words, if they can be understood."""
    with failing(status, body) as url:
        ended = omega("models", url)
    assert (ended[0], ended[1], ended[2].count("\n")) == (code, "", 1)
    assert expected in ended[2]


def test_a_key_is_not_carried_elsewhere() -> None:
    """A redirect is not followed, and where it leads is said."""
    with failing(307, b"", Location="http://elsewhere.example/v1/models") as url:
        code, out, err = omega("models", url)
    assert (code, out) == (2, "")
    assert "leads to http://elsewhere.example/v1/models" in err


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (
            sse({"error": {"message": "The engine failed.", "code": "engine_failed"}}),
            "The engine failed. (engine_failed)",
        ),
        (b"", "the connection ended in the middle of the answer"),
    ],
)
def test_an_answer_that_breaks_off(end: bytes, expected: str) -> None:
    """What came is printed with its line end; the rest is the server's fault."""
    with failing(200, b": comment\n\n" + sse(said("It is")) + end) as url:
        code, out, err = omega("chat", url, "Hello", "--model", "any")
    assert (code, out, err) == (1, "It is\n", f"omega: {expected}\n")


def test_an_answer_cannot_command_the_terminal() -> None:
    """Escape sequences in an answer or an error lose what makes them so."""
    with failing(200, sse(said("a\x1b[2J\x9b31m\tb\r\n")) + b"data: [DONE]\n\n") as url:
        assert omega("chat", url, "Hello", "--model", "any")[1] == "a[2J31m\tb\n\n"
    with failing(400, b'{"error": {"message": "\\u001b]0;title\\u0007 no", "code": "x"}}') as url:
        assert omega("models", url)[2] == "omega: ]0;title no (400, x)\n"


def test_who_reads_may_stop() -> None:
    """A closed pipe ends the command without a word."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "omega_server.client", "--help"],
        env={"PYTHONPATH": str(ROOT / "server")}, stdout=write, stderr=subprocess.PIPE, check=False, timeout=60,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_it_starts_with_the_standard_library_alone() -> None:
    """No module beyond Python's own is imported to ask a question."""
    script = "import sys; import omega_server.client.__main__; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={"PYTHONPATH": str(ROOT / "server")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(done.stdout.split()) - sys.stdlib_module_names <= {"omega_server", "__main__"}


def test_the_readmes_commands(server: Configured) -> None:
    """README.md's commands work as they stand there, with the address and the key of this server."""
    named = r"<!-- tested-by: tests/server/http/test_omega.py -->\n```sh\n(.*?)```"
    (text,) = re.findall(named, (ROOT / "README.md").read_text(), re.DOTALL)
    lines = text.strip().splitlines()
    assert lines[0] == "export OMEGA_API_KEY=$API_KEY"
    answers = []
    for line in lines[1:]:
        assert line.startswith(".venv/bin/omega ")
        command = line.replace(".venv/bin/omega", f'"{sys.executable}" -m omega_server.client')
        assert command.count(" http://127.0.0.1:8000") == 1
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines[0] + "\n" + command.replace("http://127.0.0.1:8000", server.url)],
            env={"PYTHONPATH": f"{ROOT / 'server'}:{ROOT / 'crds'}", "API_KEY": KEY, "PATH": "/usr/bin:/bin"},
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answers.append(done.stdout)
    assert answers[0] == ANSWER


def test_it_is_installed() -> None:
    """The environment has the command."""
    program = Path(sys.executable).parent / "omega"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("omega 0.")
