"""What default settings reach: `chargen train FILE --minutes M`, then `chargen eval` on its tail.

    python benchmarks/quality.py tinyshakespeare.txt --minutes 2 --minutes 5

The model sees the first 90 % of the text (its own validation split, which also chooses the best
weights); the last 10 % is scored in one piece, state carried, in another process. The commands are
those a person would type; the wall time is the whole command's, start-up included.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import report

_CHARGEN = shutil.which("chargen", path=str(Path(sys.executable).parent)) or "chargen"


def run_once(text: str, minutes: float, seed: int, folder: Path) -> list[str]:
    """Train and score; a row of the table."""
    run = folder / f"{minutes}-{seed}"
    tail = folder / "tail.txt"
    tail.write_text(text[int(len(text) * 0.9) :], encoding="utf-8", newline="")
    source = folder / "text.txt"
    source.write_text(text, encoding="utf-8", newline="")
    began = time.perf_counter()
    subprocess.run(
        [_CHARGEN, "train", str(source), "--out", str(run), "--minutes", str(minutes),
         "--seed", str(seed), "--quiet"],
        check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    scored = subprocess.run(
        [_CHARGEN, "eval", str(run), str(tail), "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    score = json.loads(scored.stdout.splitlines()[-1])
    record = json.loads((run / "run.json").read_text())
    model, train = record["model"], record["train"]
    return [
        f"{minutes:g}",
        str(seed),
        f"{seconds:.1f}",
        f"{score['nats_per_token']:.4f}",
        f"{score['bits_per_byte']:.4f}",
        f"{model['cell']} {model['num_layers']}x{model['hidden_size']}",
        f"B {train['batch_size']}, T {train['bptt']}, rate {train['learning_rate']:g}",
        f"{record['steps'] * train['batch_size'] * train['bptt'] / len(text) / 0.9:.1f}",
    ]


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--minutes", type=float, multiple=True, default=(2.0,))
@click.option("--seeds", type=int, default=1)
@click.option("--name", default="quality", help="Of the table in results/.")
def main(file: Path, minutes: tuple[float, ...], seeds: int, name: str) -> None:
    """Measure, print and write the table."""
    text = file.read_text(encoding="utf-8")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for length in minutes:
            rows += [run_once(text, length, seed, Path(folder)) for seed in range(seeds)]
            print("  ".join(rows[-1]), flush=True)
    report.write(
        name,
        f"Default settings on {file.name}",
        ["minutes asked", "seed", "seconds taken", "nats a token", "bits a byte", "model", "plan",
         "passes over the text"],
        rows,
        "On tiny Shakespeare the goals are 1.44 nats after 2 minutes, 1.41 after 5, 1.38 after 30; "
        "nanoGPT's README gives 1.4697 after 3 minutes of an A100.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
