"""The playground in a real Chromium, against a real server with the demo model."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_server import KEY, ROOT, Configured, shown, uri
from playwright.sync_api import Browser, Page, expect

from chromium import browser
from omega_server.playground import FILES, PATHS

PICTURES = ROOT / "demo" / "pictures"
DESCRIBED = PICTURES / "04-describe.png"
QUESTION = "What does the image show?"
ANSWER = "A green circle, a green square and a green circle."
PATIENCE = 120_000
"""Milliseconds for an answer on a busy machine."""

DROP = """([kind, name, data]) => {
    const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, {type: "image/png"}));
    const event = kind === "paste"
        ? new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true})
        : new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true});
    document.body.dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    with browser() as started:
        yield started


@pytest.fixture
def page(chromium: Browser, server: Configured) -> Iterator[Page]:
    """The page as a stranger sees it; nothing may go wrong in it, and nothing may be asked for elsewhere."""
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("request", lambda asked: wrong.append(asked.url) if not _ours(asked.url, server) else None)
    page.goto(server.url)
    yield page
    context.close()
    assert wrong == []


def _ours(url: str, server: Configured) -> bool:
    return url.startswith((server.url + "/", f"blob:{server.url}/"))


def enter_key(page: Page) -> None:
    """Give the page the server's key."""
    page.click("#show-settings")
    page.fill("[name=key]", KEY)
    page.get_by_role("button", name="Done").click()
    expect(page.locator("#server")).to_have_attribute("data-state", "ready", timeout=PATIENCE)


def choose(page: Page, **settings: str) -> None:
    """Fill in settings."""
    page.click("#show-settings")
    for name, value in settings.items():
        page.fill(f"[name={name}]", value)
    page.get_by_role("button", name="Done").click()


def ask(page: Page, question: str, *files: Path) -> None:
    """Choose pictures, type a question, press Enter, and wait for the answer's end."""
    if files:
        page.set_input_files("#files", files)
        expect(page.locator("#pictures li")).to_have_count(len(files))
    page.fill("#question", question)
    page.press("#question", "Enter")
    expect(page.locator(".answering")).to_have_count(0, timeout=PATIENCE)


def figures(page: Page) -> dict[str, str]:
    """What stands below the last answer, by name."""
    spans = page.locator(".turn:last-child .figures span").all_inner_texts()
    return {name: value for name, _, value in (span.rpartition(" ") for span in spans)} if spans else {}


def test_the_page_needs_no_key_and_may_do_little(server: Configured) -> None:
    """All its files come without a key, with headers that forbid everything else; the API behind it stays shut."""
    for path in sorted(PATHS):
        answer = server.client.get(path, headers={"Authorization": ""})
        assert answer.status_code == 200, path
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        again = server.client.get(path, headers={"Authorization": "", "If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert server.client.get("/v1/models", headers={"Authorization": ""}).status_code == 401
    unknown = server.client.get("/playground/..%2f__init__.py")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
    assert server.client.get("/playground/index.html").status_code == 404


def test_nothing_is_inline_or_from_elsewhere() -> None:
    """No script, style or event handler stands in the page, and no file names an address on the internet."""
    html = FILES["index.html"].body.decode()
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", html)
    for name, file in FILES.items():
        addresses = set(re.findall(r"https?://[^\"' )]+", file.body.decode()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name


def test_it_asks_for_the_key_and_keeps_it_in_the_tab(page: Page, server: Configured, chromium: Browser) -> None:
    """Without a key the server's own words are shown; with it the answer comes, and the key is in sessionStorage only."""
    expect(page.locator("#server-text")).to_have_text("needs an API key")
    ask(page, "Hello")
    refusal = server.client.get("/v1/models", headers={"Authorization": ""}).json()["error"]
    expect(page.locator(".fault strong")).to_have_text(refusal["message"])
    expect(page.locator(".fault code")).to_contain_text("401 · invalid_api_key · request ")
    page.get_by_role("button", name="Enter the API key").click()
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#server-text")).to_have_text("demo")
    ask(page, QUESTION, DESCRIBED)
    expect(page.locator(".answer").last).to_have_text(ANSWER)
    assert page.evaluate("JSON.stringify(sessionStorage)") == json.dumps({"omega-api-key": KEY}, separators=(",", ":"))
    assert page.evaluate("[localStorage.length, document.cookie, location.href]") == [0, "", server.url + "/"]
    page.reload()
    expect(page.locator("#server-text")).to_have_text("demo")
    other = chromium.new_page()
    other.goto(server.url)
    expect(other.locator("#server-text")).to_have_text("needs an API key")
    other.close()


def test_the_figures_are_the_servers(page: Page, server: Configured) -> None:
    """Tokens below an answer are those of the API's usage, and the times are there."""
    enter_key(page)
    choose(page, temperature="0", max_tokens="5")
    ask(page, QUESTION, DESCRIBED)
    usage = server.chat(shown(uri(DESCRIBED.read_bytes()), QUESTION), max_tokens=5).json()["usage"]
    told = figures(page)
    assert int(told["prompt"]) == usage["prompt_tokens"]
    assert int(told["image"]) == usage["prompt_tokens_details"]["image_tokens"] > 0
    assert int(told["answer"]) == usage["completion_tokens"] == 5
    assert float(told["tokens/s"]) > 0
    assert float(re.sub(" s$", "", page.locator(".figures b").first.inner_text())) > 0
    expect(page.locator(".figures").last).to_contain_text("ended by max tokens")
    assert {"cached"} < set(told)


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_pictures_are_pasted_and_dropped(page: Page, kind: str) -> None:
    """A picture from the clipboard or another window is a picture, and can be taken away again."""
    enter_key(page)
    data = uri(DESCRIBED.read_bytes()).partition(",")[2]
    page.evaluate(DROP, [kind, "image.png", data])
    page.evaluate(DROP, [kind, "other.png", data])
    expect(page.locator("#pictures li")).to_have_count(2)
    page.get_by_role("button", name="Remove other.png").click()
    expect(page.locator("#pictures li")).to_have_count(1)
    ask(page, QUESTION)
    expect(page.locator(".answer")).to_have_text(ANSWER)
    expect(page.locator(".asked img")).to_have_js_property("complete", True)


def test_what_is_no_picture_is_refused_before_it_is_sent(page: Page) -> None:
    """A text file is named and not taken."""
    page.set_input_files("#files", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"words"})
    expect(page.get_by_role("alert")).to_have_text("notes.txt is no JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF picture.")
    expect(page.locator("#pictures li")).to_have_count(0)


def test_errors_are_shown_as_they_are(page: Page, server: Configured) -> None:
    """A damaged picture brings the server's sentence, status, code and field; the next question is not harmed by it."""
    enter_key(page)
    damaged = {"name": "cut.png", "mimeType": "image/png", "buffer": DESCRIBED.read_bytes()[:300]}
    page.set_input_files("#files", damaged)
    ask(page, QUESTION)
    error = server.chat(shown(uri(DESCRIBED.read_bytes()[:300]), QUESTION)).json()["error"]
    expect(page.locator(".fault strong")).to_have_text(error["message"])
    expect(page.locator(".fault code")).to_contain_text(f"400 · {error['code']} · {error['param']} · request ")
    ask(page, QUESTION, DESCRIBED)
    expect(page.locator(".answer").last).to_have_text(ANSWER)


def test_an_answer_is_stopped_by_escape(page: Page) -> None:
    """Esc gives the answer up, and the next question gets its own."""
    enter_key(page)
    page.route("**/chat/completions", lambda _: None)  # the demo model's answers are too short to be stopped in time
    page.fill("#question", "Hello")
    page.press("#question", "Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator(".figures").last).to_have_text("ended by you")
    page.unroute("**/chat/completions")
    ask(page, QUESTION, DESCRIBED)
    expect(page.locator(".answer")).to_have_text(ANSWER)


def test_a_conversation_goes_on_and_begins_anew(page: Page) -> None:
    """The second question is sent with the first and its picture; New forgets both."""
    enter_key(page)
    bodies: list[Any] = []
    page.on("request", lambda asked: bodies.append(asked.post_data_json) if asked.method == "POST" else None)
    choose(page, system="Be brief.")
    ask(page, QUESTION, DESCRIBED)
    ask(page, "Where is the square?")
    assert [said["role"] for said in bodies[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert bodies[1]["messages"][1] == bodies[0]["messages"][1]
    page.get_by_role("button", name="New").click()
    expect(page.locator(".turn")).to_have_count(0)
    ask(page, "Hello")
    assert [said["role"] for said in bodies[2]["messages"]] == ["system", "user"]


def test_shift_enter_begins_a_line_and_the_keyboard_reaches_everything(page: Page) -> None:
    """The page begins in the question's field; Tab leads over all buttons and the box grows with its lines."""
    expect(page.locator("#question")).to_be_focused()
    height = page.locator("#question").bounding_box()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert page.input_value("#question") == "one\ntwo"
    grown = page.locator("#question").bounding_box()
    assert height is not None
    assert grown is not None
    assert grown["height"] > height["height"]
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"show-code", "show-settings", "welcome-choose", "example", "choose", "question", "send"} <= reached


AWKWARD = 'It\'s "this" $HOME `date` \\n ${x} <b>bold</b>\n日本 🎈'
"""What a shell or Python might take for something else."""


def test_the_code_does_the_same(page: Page, tmp_path: Path) -> None:
    """The curl and the Python that are shown are run, and give the answer that the page got."""
    enter_key(page)
    name = "my picture's copy.png"
    (tmp_path / name).write_bytes(DESCRIBED.read_bytes())
    choose(page, temperature="0", top_k="1", seed="7", max_tokens="40", system="Be brief.")
    ask(page, f"{QUESTION} {AWKWARD}", tmp_path / name)
    expected = page.locator(".answer").inner_text().strip()
    assert expected
    page.click("#show-code")
    curl = page.locator("#code-text").inner_text()
    page.keyboard.press("Tab")
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    python = page.locator("#code-text").inner_text()
    assert KEY not in curl + python
    assert "base64 <" in curl
    environment = {"PATH": os.environ["PATH"], "OMEGA_API_KEY": KEY, "HOME": str(tmp_path)}
    for command in (["sh", "-c", curl], ["bash", "-c", curl]):
        assert _streamed(_run(command, tmp_path, environment)) == expected
    assert _run([sys.executable, "-c", python], tmp_path, environment).strip() == expected


def _run(command: list[str], directory: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _streamed(events: str) -> str:
    chunks = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: {")]
    assert chunks, events
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]).strip()


def test_code_is_copied(page: Page, server: Configured) -> None:
    """The copy button puts the shown text on the clipboard."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    page.click("#show-code")
    page.get_by_role("tab", name="Python").click()
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#code-text").inner_text()


def test_an_answer_brings_no_markup(page: Page) -> None:
    """What looks like HTML in a question or an answer is text."""
    enter_key(page)
    markup = '<img src=x onerror="document.title = 1"><b>bold</b>'
    chunk = {"choices": [{"index": 0, "delta": {"content": markup}, "finish_reason": "stop"}], "usage": None}
    body = f": comment\n\ndata: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    page.route("**/chat/completions", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    ask(page, markup)
    assert page.locator(".answer").inner_text() == page.locator(".asked p").inner_text() == markup
    assert page.locator(".answer *, .asked p *").count() == 0


@pytest.mark.parametrize("events", ["error", "end"])
def test_an_answer_that_breaks_off_says_so(page: Page, events: str) -> None:
    """An error in the stream is shown below what came before it; so is an end without [DONE]."""
    enter_key(page)
    chunk = {"choices": [{"index": 0, "delta": {"content": "It is"}, "finish_reason": None}]}
    body = f"data: {json.dumps(chunk)}\n\n"
    fault = {"message": "The engine failed.", "type": "server_error", "param": None, "code": "engine_failed"}
    if events == "error":
        body += f"data: {json.dumps({'error': fault})}\n\n"
    page.route("**/chat/completions", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    ask(page, "What is it?")
    expect(page.locator(".answer")).to_have_text("It is")
    said = fault["message"] if events == "error" else "The connection ended in the middle of the answer."
    expect(page.locator(".fault strong")).to_have_text(str(said))


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (390, "dark"), (1280, "dark")])
def test_it_fits_small_screens_and_the_dark(chromium: Browser, server: Configured, width: int, scheme: Any) -> None:
    """Nothing needs sideways scrolling, touch targets are large, and text stands out from its ground."""
    page = chromium.new_page(viewport={"width": width, "height": 640}, color_scheme=scheme)
    page.goto(server.url)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("#choose", "#send"):
        box = page.locator(name).bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 40
    assert _contrast(page, "body", "body") >= 7
    assert _contrast(page, "#server-text", "body") >= 4.5
    page.close()


def _contrast(page: Page, text: str, ground: str) -> float:
    """The ratio of WCAG 2."""

    def luminance(selector: str, name: str) -> float:
        colour = page.locator(selector).evaluate(f"node => getComputedStyle(node).{name}")
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(text, "color"), luminance(ground, "backgroundColor")), reverse=True)
    return (light + 0.05) / (dark + 0.05)
