"""Run as ``.venv/bin/python tools/faults``: puts the package's parent on the path in place of the package itself."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from faults.cli import main

    sys.exit(main())
