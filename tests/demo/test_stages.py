"""What `make demo` shows and decides, without a cluster."""

import importlib
import io
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def demo_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """As demo/run.py has it."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.syspath_prepend(str(ROOT / "demo"))


def stage(name: str) -> ModuleType:
    """A module of demo/stages."""
    return importlib.import_module(f"stages.{name}")


def test_a_stage_is_one_line_with_its_seconds() -> None:
    """Without a terminal the words are the same, without colour, and what another program chats is left out."""
    out = io.StringIO()
    with stage("console").Console(out).stage("images") as shown:
        shown.follow("STEP 1/2: FROM scratch\n")
        shown.follow("[   1.5 s] building the image\n")
        shown.summary = "two images"
    lines = out.getvalue().splitlines()
    assert lines[0] == "  images      ... building the image"
    assert re.fullmatch(r"  images      two images +\d+\.\d s", lines[1])
    assert len(lines) == 2


def test_a_failure_says_what_shows_it_and_what_to_do() -> None:
    """The stage is named, then the reason, the evidence and the advice follow."""
    console = stage("console")
    out = io.StringIO()
    shown = console.Console(out)
    failure = console.DemoError("It is not Ready: needs 8 GPUs.", "ask for fewer.", "the last line of a log")
    with pytest.raises(console.DemoError), shown.stage("ready"):
        raise failure
    shown.failure(failure)
    text = out.getvalue()
    assert re.match(r"  ready       failed +0\.\d s\n", text)
    assert text.index("needs 8 GPUs") < text.index("| the last line") < text.index("What to do: ask for fewer.")


def test_a_program_that_fails_is_quoted() -> None:
    """Its last lines and exit code are what a reader sees."""
    with pytest.raises(stage("console").DemoError, match="exit code 3") as caught:
        stage("program").run(sys.executable, "-c", "print('why'); raise SystemExit(3)", advice="look")
    assert caught.value.evidence == "why\n"


def test_a_program_that_is_missing_is_named() -> None:
    """A missing program is the reader's to install, not a traceback."""
    with pytest.raises(stage("console").DemoError, match="no-such-program is not installed"):
        stage("program").run("no-such-program", advice="install it")


@pytest.mark.parametrize(
    ("answer", "right"),
    [("purple", True), (" Purple.", True), ("A purple square", False), ("", False), ("purple purple", False)],
)
def test_what_counts_as_right(answer: str, right: bool) -> None:
    """The whole answer must say it; letter case and punctuation do not matter."""
    question = stage("questions").Question("a.png", "What colour is it?", "purple")
    assert question.is_right(answer) is right


def test_the_questions_and_their_pictures_belong_together() -> None:
    """Ten questions, each about a picture that is there, none of them empty."""
    questions = stage("questions")
    asked = questions.read()
    assert len(asked) == 10
    assert len({question.file for question in asked}) == 10
    for question in asked:
        assert question.question
        assert question.answer
        [picture, text] = question.content
        assert picture["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
        assert text == {"type": "text", "text": question.question}


def test_a_tag_is_made_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of a file that an image holds is another tag; byte code is none."""
    images = stage("images")
    monkeypatch.setattr(images, "ROOT", tmp_path)
    (tmp_path / "code/__pycache__").mkdir(parents=True)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY code /\n")
    (tmp_path / "code/main.py").write_text("1")

    def tag() -> str:
        found: str = images.Image("name", "Dockerfile", ("code",)).tag
        return found

    first = tag()
    (tmp_path / "code/__pycache__/main.pyc").write_text("compiled")
    assert tag() == first
    (tmp_path / "code/main.py").write_text("2")
    assert tag() != first


def test_every_image_names_what_its_dockerfile_copies() -> None:
    """Nothing that an image holds can change without its tag."""
    images = stage("images")
    for image in images.ALL:
        text = (ROOT / image.dockerfile).read_text()
        copied = re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE)
        assert set(copied) == set(image.content)


def test_a_foreign_cluster_needs_a_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that we did not start must be able to pull: without DEMO_REGISTRY the demo says so at once."""
    images, cluster = stage("images"), stage("cluster")
    foreign = cluster.Cluster(Path("kubeconfig"), Path("tools"), own=False)
    monkeypatch.delenv("DEMO_REGISTRY", raising=False)
    with pytest.raises(stage("console").DemoError) as caught:
        images.registry_of(foreign)
    assert "DEMO_REGISTRY" in caught.value.advice
    monkeypatch.setenv("DEMO_REGISTRY", "registry.example.com/team/")
    assert images.registry_of(foreign) == "registry.example.com/team"


def test_the_last_words_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to try next names the cluster's kubeconfig, a valid patch, and how to end it."""
    run = importlib.import_module("run")
    here = stage("cluster").Cluster(Path("/k"), Path("/t"), own=True)
    commands = run.next_steps(here, "http://10.96.0.9")
    assert commands[1] == "export KUBECONFIG=/k"
    assert commands[-1] == "make demo-down"
    [patch] = [command.split("-p '")[1].rstrip("'") for command in commands if " patch " in command]
    assert json.loads(patch) == {"spec": {"images": {"maxPerRequest": 3}}}
    assert any("port-forward" in command for command in run.next_steps(here, "http://127.0.0.1:4000"))
