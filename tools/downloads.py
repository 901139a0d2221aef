"""Whether a download that is killed goes on where it was, and one that hangs is noticed.

    downloads.py [--kills 20] [--mib 512] [--files 3] [--library]

A hub on this machine (hub.py) has a model of so many files. `omega-server download` fetches it, and gets SIGKILL when
the hub has sent as many bytes as each of some random numbers says. Then the hub falls silent in the middle of a file, and
the time is taken until /progress tells so and until bytes come again. Exit code 1 if more than 5 % of the model was sent
twice, the files are not right, or the silence took longer than 60 s to be told.

--library has huggingface_hub's own snapshot_download do the same, for comparison: it is given up when it has been sent the
model three times.
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from hub import Hub

ROOT = Path(__file__).resolve().parent.parent
MOST_TWICE = 0.05  # of the model
LONGEST_SILENCE = 60.0  # seconds until it is told
RATE = 6 * 2**20  # bytes per second on each connection
LIBRARY = (
    "import sys; from huggingface_hub import snapshot_download; snapshot_download('org/model', local_dir=sys.argv[1])"
)


class Trial:
    """One hub and one directory."""

    def __init__(self, hub: Hub, endpoint: str, directory: Path, *, library: bool = False) -> None:
        self._hub, self._endpoint, self._directory, self._library = hub, endpoint, directory, library
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def begin(self) -> "subprocess.Popen[bytes]":
        """Start a download, which goes on with what is in the directory."""
        flags = ["--repo", "org/model", "--target", str(self._directory / "model"), "--progress-port", str(self.port)]
        ours = [sys.executable, "-m", "omega_server", "download", *flags]
        command = [sys.executable, "-c", LIBRARY, str(self._directory / "model")] if self._library else ours
        environ = {"HF_ENDPOINT": self._endpoint, "HOME": str(self._directory), "PATH": os.environ["PATH"]}
        environ |= {"PYTHONPATH": f"{ROOT}/server:{ROOT}/crds", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill_at(self, points: list[int]) -> int:
        """Kill a download at each number of sent bytes; returns how often it was."""
        for count, point in enumerate(points):
            process = self.begin()
            while self._hub.sent.total() < point and process.poll() is None:
                time.sleep(0.002)
            process.kill()
            if process.wait() == 0:
                return count
        return len(points)

    def finish(self) -> bool:
        """Run a download to its end, unless it asks for too much; whether it ended well."""
        process, size = self.begin(), sum(map(len, self._hub.repos["org/model"].values()))
        while process.poll() is None:
            time.sleep(0.1)
            if self._hub.sent.total() > 3 * size:
                process.kill()
        return process.wait() == 0

    def is_right(self) -> bool:
        """Whether the files are the hub's."""
        files = self._hub.repos["org/model"]
        return all((self._directory / "model" / name).read_bytes() == data for name, data in files.items())

    def told(self) -> dict[str, Any]:
        """What /progress says; empty if nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/progress", timeout=1) as answer:
                return dict(json.load(answer))
        except OSError:
            return {}


def killed(options: argparse.Namespace, directory: Path) -> bool:
    """The first half; prints what it found."""
    dice = random.Random(options.seed)
    files = {
        f"model-{index}.safetensors": dice.randbytes(options.mib * 2**20 // options.files)
        for index in range(options.files)
    }
    files["config.json"] = b"{}"
    size = sum(map(len, files.values()))
    hub = Hub({"org/model": files}, rate=RATE)
    with hub.served() as endpoint:
        trial = Trial(hub, endpoint, directory, library=options.library)
        points = sorted(dice.randrange(size // 100, size * 98 // 100) for _ in range(options.kills))
        kills = trial.kill_at(points)
        whole = trial.finish() and trial.is_right()
    twice = hub.sent.total() / size - 1
    print(
        f"{kills} kills, {size / 2**20:.0f} MiB: {twice:.2%} sent twice, files {'right' if whole else 'WRONG'}",
        flush=True,
    )
    return whole and twice <= MOST_TWICE


def silenced(options: argparse.Namespace, directory: Path) -> bool:
    """The second half; prints what it found."""
    data = random.Random(options.seed).randbytes(32 * 2**20)
    hub = Hub({"org/model": {"config.json": b"{}", "model.safetensors": data}}, rate=RATE, silences=[10 * 2**20])
    with hub.served() as endpoint:
        trial = Trial(hub, endpoint, directory)
        process = trial.begin()
        while hub.sent.total() < 10 * 2**20:
            time.sleep(0.01)
        began, told, again = time.monotonic(), None, None
        while process.poll() is None:
            said = trial.told()
            if told is None and said.get("trouble"):
                told = time.monotonic() - began
                print(f"told after {told:.1f} s: {said}", flush=True)
            if again is None and hub.sent.total() > 11 * 2**20:
                again = time.monotonic() - began
            time.sleep(0.05)
        right = process.wait() == 0 and trial.is_right()
    print(f"bytes came again after {again or 0:.1f} s, files {'right' if right else 'WRONG'}", flush=True)
    return right and told is not None and told <= LONGEST_SILENCE


def main() -> int:
    """Try both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="times that the download is killed (default: 20)")
    parser.add_argument("--mib", type=int, default=512, help="size of the model in MiB (default: 512)")
    parser.add_argument("--files", type=int, default=3, help="files of weights (default: 3)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    parser.add_argument("--library", action="store_true", help="huggingface_hub's own download, kills only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        good = killed(options, Path(one))
        return 0 if (options.library or silenced(options, Path(other))) and good else 1


if __name__ == "__main__":
    sys.exit(main())
