"""Two processes (Gloo) against one that reads the same batch rows: speed, and how losses differ.

    python benchmarks/processes.py CORPUS

Measures whole training steps of `chargen train`, without the first third of them. Runs of one
process and of two take turns, and their medians are compared. Both use all cores of the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import report

ROUNDS = 3
RUNS = {
    "1x448, B 32, T 48 (default)": "--hidden-size 448 --steps 120",
    "1x448, B 64, T 48": "--hidden-size 448 --batch-size 64 --steps 80",
    "2x512, B 64, T 128": "--hidden-size 512 --layers 2 --batch-size 64 --bptt 128 --steps 24",
    "2x512, B 64, T 128, fp32": "--hidden-size 512 --layers 2 --batch-size 64 --bptt 128 --steps 16"
    " --precision fp32",
}
"""Options of each run, by the name that the table gives it. B batch rows, T tokens per row."""
RUN_OF_LOSSES = (
    "--hidden-size 128 --batch-size 16 --bptt 32 --steps 200 --precision fp32 --dropout 0.2"
)
ONE_PROCESS = [sys.executable, "-m"]
TWO_PROCESSES = [
    *ONE_PROCESS, "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
    "--rdzv-endpoint", "localhost:0", "-m", "--",
]  # fmt: skip


def step_events(command: list[str], corpus: Path, options: str) -> list[dict[str, float]]:
    """Trains, and returns the run's step events."""
    done = subprocess.run(
        [*command, "chargen", "train", str(corpus), "--out", "run", "--overwrite", "--json",
         "--valid-fraction", "0", "--seed", "1", *options.split()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [event for event in events if event["event"] == "step"]


def tokens_per_second(events: list[dict[str, float]]) -> float:
    """The speed after the first third of the steps."""
    first, last = events[len(events) // 3], events[-1]
    return (last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"])


def main() -> None:
    """Measures, prints and writes the table."""
    corpus = Path(sys.argv[1]).resolve()
    os.chdir(tempfile.mkdtemp())
    rows = []
    for name, options in RUNS.items():
        single, double = [], []
        for _ in range(ROUNDS):
            single.append(tokens_per_second(step_events(ONE_PROCESS, corpus, options)))
            double.append(tokens_per_second(step_events(TWO_PROCESSES, corpus, options)))
        speeds = median(single), median(double)
        rows.append([name, *(f"{speed:,.0f}" for speed in speeds), f"{speeds[1] / speeds[0]:.2f}"])
    pairs = zip(
        step_events(ONE_PROCESS, corpus, RUN_OF_LOSSES),
        step_events(TWO_PROCESSES, corpus, RUN_OF_LOSSES),
        strict=True,
    )
    difference = max(abs(alone["loss"] - shared["loss"]) for alone, shared in pairs)
    report.write(
        "processes",
        "Two processes (Gloo) against one on the same cores",
        ["LSTM", "one process, tokens/s", "two, tokens/s", "ratio"],
        rows,
        f"Losses of 200 steps in float32 (1x128, dropout 0.2) differ by {difference:.1e} at most.",
    )


if __name__ == "__main__":
    main()
