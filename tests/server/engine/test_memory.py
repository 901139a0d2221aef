"""What an idle engine does with memory that it needs no more."""

import os
import subprocess
import sys

MEASURE = """
from omega_server.engine.memory import MIB, give_back, resident_bytes
kept = [bytes(65536) for _ in range(1600)]
before = resident_bytes()
del kept[:-1]  # the last one keeps the C library from giving back what lies before it
freed = resident_bytes()
give_back()
print((before - freed) / MIB, (freed - resident_bytes()) / MIB)
"""


def test_freed_memory_goes_back_to_the_system():
    """A hundred MiB in small pieces stay with the process when they are freed, and go when they are given back."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", MEASURE], env=environ, capture_output=True, text=True, check=True)
    by_itself, given_back = map(float, ran.stdout.split())
    assert by_itself < 50
    assert given_back > 50
