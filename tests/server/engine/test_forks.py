"""What the fork server, and with it every engine, is told when it starts."""

import os
import subprocess
import sys

import pytest

from omega_server import forks

SHOW = "import os, omega_server.forks; print(os.environ['GLIBC_TUNABLES'])"


@pytest.mark.parametrize("said", [None, "glibc.malloc.hugetlb=0"])
def test_memory_lies_in_large_pages_unless_somebody_says_otherwise(said):
    """Who uses the fork server hands it the setting on, but keeps one that is there."""
    environ = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    environ |= {"PYTHONPATH": os.pathsep.join(sys.path)} | ({"GLIBC_TUNABLES": said} if said else {})
    shown = subprocess.run([sys.executable, "-c", SHOW], env=environ, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == (said or forks.TUNABLES)
