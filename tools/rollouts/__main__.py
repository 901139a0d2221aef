"""Run as ``.venv/bin/python tools/rollouts``: puts the package's parent, and the operator, on the path."""

import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    sys.path[0:1] = [str(root / folder) for folder in ("tools", "crds", "operator")]
    from rollouts.cli import main

    sys.exit(main())
