"""Makes this machine look like a lesser one, and runs a command, or the tests that depend on it.

    python tests/guises.py avx2 -m pytest tests/training     Python with these arguments, in a guise
    python tests/guises.py all                               the tests of `TESTS` in every guise

A guise is a set of environment variables. It limits chargen's own kernels (CHARGEN_CPU, see
chargen/training/kernels/build.py), torch's (ATEN_CPU_CAPABILITY, and ONEDNN_MAX_CPU_ISA for
oneDNN), numpy's (OPENBLAS_CORETYPE), and threads (OMP_NUM_THREADS).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
GUISES: dict[str, dict[str, str]] = {
    # A laptop of the years 2013 to 2023: AVX2, no AVX-512, no bfloat16.
    "avx2": {
        "CHARGEN_CPU": "march=haswell,no-bf16",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "no-bf16": {"CHARGEN_CPU": "no-bf16"},
    "no-compiler": {"CHARGEN_CPU": "no-compiler"},
    # Tests compute on one thread unless they are told otherwise (tests/conftest.py).
    "two-threads": {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
}
TESTS = (
    "tests/training/test_kernels.py",
    "tests/training/test_planner.py",
    "tests/training/test_snapshot.py",
    "tests/training/test_autotune.py",
    "tests/inference",
)
"""What the result of which may depend on the CPU."""


def run(guise: str, arguments: list[str]) -> int:
    """Runs Python with these arguments in a guise: its exit status."""
    environment = {**os.environ, **GUISES[guise]}
    return subprocess.run([sys.executable, *arguments], env=environment, cwd=ROOT).returncode


def main(arguments: list[str]) -> int:
    """Runs what the command line says: the exit status, 2 for a wrong command line."""
    if arguments == ["all"]:
        tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
        failed = []
        for guise in GUISES:
            print(f"== {guise}", flush=True)
            if run(guise, tests):
                failed.append(guise)
        print(f"guises that failed: {', '.join(failed)}" if failed else "every guise passed")
        return bool(failed)
    if len(arguments) < 2 or arguments[0] not in GUISES:
        print(__doc__, f"Guises: {', '.join(GUISES)}", sep="\n", file=sys.stderr)
        return 2
    return run(arguments[0], arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
