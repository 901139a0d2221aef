"""Run as ``.venv/bin/python tools/fuzz``: puts the package's parent on the path in place of the package itself."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from fuzz.cli import main

    sys.exit(main())
