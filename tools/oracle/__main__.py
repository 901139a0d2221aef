"""Record what the fork computes, for tests/oracle to compare with (see README.md): `.venv/bin/python tools/oracle`."""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "tests" / "oracle"
PINNED = HERE / "requirements.txt"


def uv(*arguments: str | Path, environment: Path | None = None) -> None:
    """Run the uv of the development environment, on `environment` when one is given."""
    variables = dict(os.environ) if environment is None else os.environ | {"VIRTUAL_ENV": str(environment)}
    subprocess.run([Path(sys.prefix) / "bin" / "uv", *arguments], check=True, env=variables)


def pin() -> None:
    """Write requirements.txt from requirements.in: every version with its hashes, and no index address."""
    flags = ["--quiet", "--universal", "--python-version=3.11", "--generate-hashes", "--no-annotate", "--no-header"]
    uv("pip", "compile", *flags, HERE / "requirements.in", "-o", PINNED)


def environment() -> Path:
    """The fork's environment, in the cache directory; made if requirements.txt has none yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "omega-vlm" / "oracle"
    path = cache / hashlib.sha256(PINNED.read_bytes()).hexdigest()[:16]
    complete = path / ".complete"
    if not complete.exists():
        print(f"oracle: making the fork's environment in {path}", flush=True)
        uv("venv", "--quiet", "--clear", "--python", sys.executable, path)
        uv("pip", "sync", "--quiet", "--require-hashes", PINNED, environment=path)
        complete.touch()
    return path


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tools/oracle", description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET, help="folder to write to (default: tests/oracle)")
    parser.add_argument("--pin", action="store_true", help="only pin requirements.in again")
    options = parser.parse_args()
    if options.pin:
        pin()
        return
    # One thread: the order of additions, and with it the last bit of each logit, must not depend on the machine.
    variables = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [environment() / "bin" / "python", "-m", "oracle.record", options.out.resolve()]
    sys.exit(subprocess.run(command, check=False, cwd=HERE.parent, env=variables).returncode)


if __name__ == "__main__":
    main()
