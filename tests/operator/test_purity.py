"""The architecture, executed: what is pure loads neither a client nor a server nor an event loop's library."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PURE = [
    "capacity",
    "causes",
    "conditions",
    "desired",
    "events",
    "observed",
    "ownership",
    "placement",
    "remarks",
    "pod",
    "quota",
    "rollout",
    "room",
    "settings",
    "status",
]
SHELL = ("kopf", "kubernetes", "aiohttp", "prometheus_client", "yaml", "torch", "fastapi", "omega_server")


def test_pure_modules_import_no_shell() -> None:
    """The pure modules can be used where no cluster, client or network is."""
    imports = "; ".join(f"import omega_operator.{module}" for module in PURE)
    path = f"{ROOT / 'crds'}:{ROOT / 'operator'}"
    code = f"import sys; {imports}; print(*(set(sys.modules) & {set(SHELL)}))"
    ran = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == ""
