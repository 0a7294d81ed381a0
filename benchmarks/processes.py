"""Two Gloo processes against one, on the same lanes: tokens a second, and how far losses differ.

    python benchmarks/processes.py CORPUS

Whole training steps, as `chargen train` makes them; the first steps are left out. Runs of one and
of two processes take turns, and medians are compared.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import report

_ROUNDS = 3
_SHAPES = {
    "1x448, B 32, T 48 (default)": "--hidden-size 448 --steps 120",
    "1x448, B 64, T 48": "--hidden-size 448 --batch-size 64 --steps 80",
    "2x512, B 64, T 128": "--hidden-size 512 --layers 2 --batch-size 64 --bptt 128 --steps 24",
    "2x512, B 64, T 128, fp32": "--hidden-size 512 --layers 2 --batch-size 64 --bptt 128 --steps 16"
    " --precision fp32",
}
_ALONE = [sys.executable, "-m"]
_BOTH = [
    *_ALONE, "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
    "--rdzv-endpoint", "localhost:0", "-m", "--",
]  # fmt: skip


def steps(command: list[str], corpus: Path, settings: str) -> list[dict[str, float]]:
    """The step events of a run."""
    done = subprocess.run(
        [*command, "chargen", "train", str(corpus), "--out", "run", "--overwrite", "--json",
         "--valid-fraction", "0", "--seed", "1", *settings.split()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [row for row in rows if row["event"] == "step"]


def rate(rows: list[dict[str, float]]) -> float:
    """Tokens a second after the first third."""
    first, last = rows[len(rows) // 3], rows[-1]
    return (last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"])


def main() -> None:
    """Measure, and write the table."""
    corpus = Path(sys.argv[1]).resolve()
    os.chdir(tempfile.mkdtemp())
    table = []
    for name, settings in _SHAPES.items():
        alone, both = [], []
        for _ in range(_ROUNDS):
            alone.append(rate(steps(_ALONE, corpus, settings)))
            both.append(rate(steps(_BOTH, corpus, settings)))
        one, two = statistics.median(alone), statistics.median(both)
        table.append((name, f"{one:,.0f}", f"{two:,.0f}", f"{two / one:.2f}"))
    small = "--hidden-size 128 --batch-size 16 --bptt 32 --steps 200 --precision fp32 --dropout 0.2"
    pairs = zip(steps(_ALONE, corpus, small), steps(_BOTH, corpus, small), strict=True)
    apart = max(abs(one["loss"] - two["loss"]) for one, two in pairs)
    report.write(
        "processes",
        "Two processes (Gloo) against one on the same cores",
        ("LSTM", "one process, tokens/s", "two, tokens/s", "ratio"),
        table,
        f"Losses of 200 steps in float32 (1x128, dropout 0.2) differ by {apart:.1e} at most.",
    )


if __name__ == "__main__":
    main()
