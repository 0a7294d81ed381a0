"""What torch is told about this machine."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from chargen.training import device
device.keep_memory()

def step():
    return [torch.zeros(1 << 20) for _ in range(16)]  # 64 MB

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc"
)
def test_memory_waits_for_the_next_step():
    """Fresh pages from the system are counted: usually all 16,384 of a step."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 1000
