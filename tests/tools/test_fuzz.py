"""A short search for bytes that break a decoder or the parser, the same each time; the long one is a command."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import mutate, seeds

ROOT = Path(__file__).parents[2]


def fuzz(*command: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the tools on its path."""
    path = os.pathsep.join(str(ROOT / folder) for folder in ("tools", "server", "crds"))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False, timeout=500
    )


@pytest.mark.parametrize(("name", "runs"), [("picture", 1500), ("video", 300), ("request", 4000)])
def test_nothing_breaks(name: str, runs: int, tmp_path: Path) -> None:
    """So many inputs, changed from ones that are in order, bring a result or one of our words, within bounded memory."""
    done = fuzz(str(ROOT / "tools" / "fuzz"), name, "--runs", str(runs), "--findings", str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:]
    ended = re.search(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
    # The seeds count too, and the search ends between two of its own rounds.
    assert ended, done.stderr[-4000:]
    assert int(ended[1]) >= runs
    assert list(tmp_path.iterdir()) == []


def test_what_breaks_is_kept(tmp_path: Path) -> None:
    """A finding ends the search with another code, and its input is there to be looked at."""
    script = (
        "import sys; from fuzz import cli, targets; targets.Request.check = lambda self, data: {}[data[:1]];"
        f"sys.argv[1:] = ['request', '--runs', '10', '--findings', {str(tmp_path)!r}]; sys.exit(cli.main())"
    )
    done = fuzz("-c", script)
    assert done.returncode != 0
    assert "KeyError" in done.stderr + done.stdout
    (found,) = tmp_path.iterdir()
    assert found.name.startswith("crash-")


def test_changed_json_is_json() -> None:
    """A changed request is a request that can be parsed, seldom the same, and the same for the same seed."""
    change = mutate.json_mutator(["messages", "top_k"], lambda data, _: data)
    for start in seeds.requests():
        changed = [change(start, 1 << 16, seed) for seed in range(50)]
        assert [json.loads(body) for body in changed]
        assert len(set(changed)) > 20
        assert changed[7] == change(start, 1 << 16, 7)


def test_what_is_no_json_is_changed_as_bytes() -> None:
    """And so is what would become too long."""
    change = mutate.json_mutator(["n"], lambda data, size: b"bytes of %d" % size)
    assert change(b"{", 9, random.Random(1).randrange(99)) == b"bytes of 9"
    assert all(change(b'{"a": [1, 2, 3]}', 0, seed) == b"bytes of 0" for seed in range(20))
