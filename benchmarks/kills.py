"""A run killed again and again ends as the run that was left alone: bit for bit.

    python benchmarks/kills.py corpus.txt --kills 100

Trains once in one go; then again, killed with SIGKILL and taken up each time: every other time at
a random moment, otherwise as soon as a file is being written (its temporary file is there).
Compares the tensors of both models and states, and every loss; and looks for files that a kill
left behind.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import report
from safetensors.numpy import load_file

_CHARGEN = shutil.which("chargen", path=str(Path(sys.executable).parent)) or "chargen"
_FILES = {"metrics.jsonl", "model.safetensors", "run.json", "training.safetensors"}


def losses(run: Path) -> dict[int, float]:
    """Loss by step, of metrics.jsonl."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {one["step"]: one["loss"] for one in records if one["event"] == "step"}


def differences(one: Path, other: Path) -> int:
    """How many tensors and losses differ."""
    count = int(losses(one) != losses(other))
    for name in ("model.safetensors", "training.safetensors"):
        left, right = load_file(one / name), load_file(other / name)
        assert left.keys() == right.keys()
        count += sum(not np.array_equal(left[key], right[key]) for key in left)
    return count


def leftovers(run: Path) -> set[str]:
    """Files that no finished run has."""
    return {one.name for one in run.iterdir()} - _FILES if run.exists() else set()


def run_killed(train: list[str], resume: list[str], run: Path, kills: int, longest: float) -> int:
    """Kill a run so many times, then let it end; how many were in the middle of a save.

    On a fast machine it may end by itself before the last kill.
    """
    halves = 0
    for number in range(kills):
        begun = (run / "training.safetensors").exists()
        left = leftovers(run)
        process = subprocess.Popen(resume if begun else train, stderr=subprocess.DEVNULL)
        until = time.monotonic() + random.uniform(0.3, longest)
        while time.monotonic() < until and process.poll() is None:
            if number % 2 and leftovers(run) - left:
                break
        if process.poll() is not None:
            if number == 0:
                raise SystemExit("the run ended before it was killed: add --steps")
            return halves  # faster than it was killed
        process.kill()
        process.wait()
        halves += bool(leftovers(run))
    if not (run / "training.safetensors").exists():
        resume = train
    subprocess.run(resume, check=True)
    return halves


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--kills", default=100)
@click.option("--steps", default=6000)
@click.option("--hidden-size", default=96)
@click.option("--longest", default=5.0, help="Seconds before a kill, at most.")
@click.option("--table/--no-table", default=True, help="Write it to results/kills.md.")
def main(file: Path, kills: int, steps: int, hidden_size: int, longest: float, table: bool) -> None:
    """Kill, compare, print and write the table; exit code 1 when anything differs."""
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder) / "whole", Path(folder) / "parts"
        options = [
            "--steps", str(steps), "--hidden-size", str(hidden_size), "--seed", "3",
            "--dropout", "0.2", "--quiet",
        ]  # fmt: skip
        commands = [[_CHARGEN, "train", str(file), *options, "--out", str(one)]
                    for one in (whole, parts)]  # fmt: skip
        began = time.perf_counter()
        subprocess.run(commands[0], check=True)
        alone = time.perf_counter() - began
        began = time.perf_counter()
        resume = [_CHARGEN, "resume", str(parts), "--quiet"]
        halves = run_killed(commands[1], resume, parts, kills, longest)
        killed = time.perf_counter() - began
        different = differences(whole, parts)
        left = leftovers(parts)
    if table:
        report.write(
            "kills",
            "A run killed again and again",
            ["kills", "with a file half written", "tensors and losses that differ",
             "files left behind", "seconds alone", "seconds with all kills"],
            [[str(kills), str(halves), str(different), str(len(left)), f"{alone:.0f}",
              f"{killed:.0f}"]],
            f"{steps} steps of an LSTM of {hidden_size} units with dropout, SIGKILL between 0.3 "
            f"and {longest:g} seconds after each start; every other time as soon as a temporary "
            "file is seen.",
        )  # fmt: skip
    sys.exit(bool(different or left))


if __name__ == "__main__":
    main()
