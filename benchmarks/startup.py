"""How soon something is on the screen: `chargen --help`, and the first sampled character.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import report
from random_model import random_model

from chargen.model.checkpoint import save_model

ROUNDS = 15
SHAPES = ((1, 320), (2, 512))
"""(Layers, units) of the LSTMs."""


def seconds_to_end(arguments: list[str]) -> float:
    """Seconds from the start of the process to its end."""
    began = time.perf_counter()
    subprocess.run(arguments, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measures, prints and writes the table."""
    bare = median(seconds_to_end([sys.executable, "-c", "pass"]) for _ in range(ROUNDS))
    help_text = median(seconds_to_end([report.CHARGEN, "--help"]) for _ in range(ROUNDS))
    rows = [
        ["python -c pass, for comparison", f"{bare:.3f}", ""],
        ["chargen --help, to its end", f"{help_text:.3f}", "0.15"],
    ]
    with tempfile.TemporaryDirectory() as folder:
        for layers, size in SHAPES:
            path = Path(folder, f"{layers}x{size}.safetensors")
            save_model(path, random_model(layers, size))
            arguments = [report.CHARGEN, "sample", str(path), "--no-echo", "-p", "A", "-l", "50"]
            took = median(report.seconds_to_first_byte(arguments) for _ in range(ROUNDS))
            rows.append([f"first sampled character, LSTM {layers}x{size}", f"{took:.3f}", "0.5"])
    header = ["what", f"seconds (median of {ROUNDS})", "goal"]
    report.write("startup", "Start-up", header, rows)


if __name__ == "__main__":
    main()
