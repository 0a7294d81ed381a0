"""The settings of the C allocator that torch uses."""

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
def test_freed_memory_is_reused_by_the_next_step():
    """Counts page faults: without the setting, each of the 16,384 pages of a step is one."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 1000
