"""kubectl omega without a cluster: what it makes of what kubectl says, and how it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omega_server.kubectl import advice, status, top, why, words

ROOT = Path(__file__).parents[2]


def plugin(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run it: exit code, standard output, standard error."""
    environment = {
        "PYTHONPATH": str(ROOT / "server"),
        "PATH": os.environ["PATH"],
        "KUBECTL": "/there/is/none",
    } | variables
    command = [sys.executable, "-W", "error", "-m", "omega_server.kubectl", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no command: commands are status, why, top, chat, bench"),
        (("restart", "vl"), "restart: commands are"),
        (("why",), "NAME"),
        (("status", "-A", "vl"), "leave out -A"),
        (("top", "--seconds", "0"), "must be a number above 0"),
        (("chat", "vl"), "PICTURE QUESTION"),
        (("bench",), "the name of a resource comes first"),
        (("bench", "--requests", "3", "vl"), "the name of a resource comes first"),
        (("why", "No_Name"), "is no name of an object"),
        (("status", "--colour"), "unrecognized arguments: --colour"),
        (("status",), "install kubectl, or let KUBECTL name it"),
    ],
    ids=str,
)
def test_mistakes_are_the_users(arguments: tuple[str, ...], words: str) -> None:
    """A wrong command line is refused with exit code 2 and one line that says what is wrong."""
    code, out, err = plugin(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.startswith("omega: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--help",), ("status", "--help"), ("chat", "-h"), ("bench", "--help")], ids=str)
def test_help(arguments: tuple[str, ...]) -> None:
    """Help needs no cluster, and names the command as it is typed."""
    code, out, err = plugin(*arguments)
    assert (code, err) == (0, "")
    assert "kubectl omega" in out
    assert "URL" not in out.splitlines()[0]


def test_one_file_is_enough(tmp_path: Path) -> None:
    """The file that make kubectl-omega writes runs with nothing but Python beside it, and brings its advice along."""
    file = tmp_path / "kubectl-omega"
    subprocess.run([sys.executable, ROOT / "tools/plugin.py", file], check=True, capture_output=True)
    assert os.access(file, os.X_OK)

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, check=False)

    assert run(sys.executable, "-I", "-S", file, "--version").stdout.startswith("kubectl-omega ")
    look = f"import sys; sys.path.insert(0, {str(file)!r}); from omega_server.kubectl import advice; print(advice.about('cannot be divided among'))"
    assert "tensorParallel" in run(sys.executable, "-I", "-S", "-c", look).stdout
    refused = run(sys.executable, "-I", "-S", file, "bench", "vl")
    assert refused.returncode == 2
    assert "pip install aiohttp orjson pillow" in refused.stderr


def test_a_stalled_resource_is_explained_by_its_servers_words(world: Any) -> None:
    """What to do about the server's last line beats what to do about servers that end in general."""
    pods = world.pods("omega-new")
    said = {"omega-new-7b4d6c9f5-tn8vr": why.words_of(pods[0])}
    text = why.explain(world.resource("omega-new"), pods, [], said, world.now)
    assert "relative to the volume's root" in " ".join(text.split())
    unknown = world.resource("omega-new")
    why.cause(unknown)["message"] = "the server ended with exit code 1"  # type: ignore[index]
    assert "kubectl logs POD --previous" in why.explain(unknown, [], [], {}, world.now)


def test_a_ready_resource_has_nothing_to_explain(world: Any) -> None:
    """Ready is said in one line, also where no pod is wanted."""
    resource = world.resource("omega-vl")
    assert why.explain(resource, [], [], {}, world.now).count("\n") == 0
    resource["status"]["conditions"][0] |= {"reason": "ScaledToZero"}
    resource["status"]["conditions"][3] |= {"status": "Unknown", "reason": "NoPods"}
    assert why.cause(resource) is None


def test_a_configuration_that_is_refused_is_explained(world: Any) -> None:
    """A resource may be ready and still not run what it says."""
    resource = world.resource("omega-vl")
    resource["status"]["conditions"][3] |= {"status": "False", "reason": "ConfigRejected", "message": "pod p keeps it"}
    text = why.explain(resource, [], [], {}, world.now)
    assert "ConfigApplied is False" in text
    assert "Correct the field that is named" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [({"status": None}, "has no status"), ({"metadata": {"generation": 5}}, "has not seen it yet")],
    ids=str,
)
def test_what_the_operator_has_not_seen(world: Any, change: dict[str, Any], said: str) -> None:
    """No status, or one of an older generation, is never taken for the present one."""
    resource = world.resource("omega-vl")
    for name, value in change.items():
        resource[name] = (resource[name] | value) if value else value
    assert said in why.explain(resource, [], [], {}, world.now)
    assert status.summary(resource) != "Ready"


def test_every_reason_has_advice() -> None:
    """What the operator's reasons mean came along from the page that explains them, without its markup."""
    known = json.loads((ROOT / "server/omega_server/kubectl/advice.json").read_text())
    assert {"Stalled", "Ready", "ConfigApplied", "ModelCached"} <= set(known["reasons"])
    assert all(one["means"] for reasons in known["reasons"].values() for one in reasons.values())
    assert "`" not in json.dumps(known)
    assert advice.of("Stalled", "Nonsense") is None


def test_rates_and_engines_of_metrics(world: Any) -> None:
    """Engines are told apart by their label; other series are left alone."""
    engines = top.engines_of(list(top.parse(world.metrics["omega-vl-6c9f7d5b8-9qzwm"])))
    assert [(one.index, one.ready, one.running, one.restarts) for one in engines] == [(0, True, 9, 0), (1, False, 0, 2)]


def test_nothing_that_a_terminal_obeys_is_printed(world: Any) -> None:
    """Whatever a resource, a pod or a server says, it does not command the terminal, nor break a table."""
    resource = world.resource("omega-vl")
    resource["status"]["summary"] = "\x1b[31mred\nline"
    shown = status.overview([resource], world.now, with_namespace=True)
    assert "\x1b" not in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("since", "age"),
    [
        ("11:59:58", "2s"),
        ("11:58:30", "90s"),
        ("11:55:00", "5m"),
        ("10:30:00", "90m"),
        ("06:00:00", "6h"),
        ("12:00:05", "0s"),
    ],
)
def test_ages(since: str, age: str, world: Any) -> None:
    """The largest unit of which there are two; a clock that is ahead counts as now."""
    assert words.age(f"2030-01-02T{since}Z", world.now) == age
