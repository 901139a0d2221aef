"""kubectl-omega as one file that needs python3 >= 3.11 and kubectl, and nothing else.

    tools/plugin.py [FILE]     write it (default: dist/kubectl-omega)

Put the file into a directory of PATH, and kubectl knows it as `kubectl omega`. Of it only bench needs more: aiohttp, orjson and
pillow, where python3 finds them.
"""

import shutil
import sys
import tempfile
import zipapp
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("__init__.py", "bench", "client", "kubectl")
"""Of omega_server: what stands beside the data path."""


def write(target: Path) -> None:
    """Write the file, executable."""
    with tempfile.TemporaryDirectory() as name:
        package = Path(name) / "omega_server"
        package.mkdir()
        for part in PARTS:
            source = ROOT / "server/omega_server" / part
            if source.is_dir():
                shutil.copytree(source, package / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, package)
        (Path(name) / "__main__.py").write_text(
            "import sys\nfrom omega_server.kubectl.__main__ import main\nsys.exit(main())\n"
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        zipapp.create_archive(name, target, "/usr/bin/env python3", compressed=True)
    target.chmod(0o755)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist/kubectl-omega"
    write(target)
    print(f"wrote {target}")
