"""The training scripts are a program, not a package: its modules are found where the program finds them."""

import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "demo"
sys.path.insert(0, str(DEMO / "train"))
