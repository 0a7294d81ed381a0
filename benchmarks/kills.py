"""A run that is killed again and again ends bit for bit like a run that is left alone.

    python benchmarks/kills.py corpus.txt --kills 100

Trains once without interruption. Then trains again with the same seed; this run is killed with
SIGKILL and resumed many times. Every other kill comes at a random moment. The others come as soon
as a file is being written, when its temporary file is there. Compares the tensors of both models
and of both saved states, and every loss; and looks for files that a kill left behind.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import report
from safetensors.numpy import load_file

RUN_FILES = {
    *("metrics.jsonl", "model.safetensors", "model.memory.safetensors"),
    *("run.json", "training.safetensors"),
}
MIN_SECONDS_TO_KILL = 0.3


def losses(run: Path) -> dict[int, float]:
    """The loss of each step, from metrics.jsonl."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {record["step"]: record["loss"] for record in records if record["event"] == "step"}


def differences(first: Path, second: Path) -> int:
    """How many tensors of two runs differ; all losses together count as one."""
    count = int(losses(first) != losses(second))
    for name in ("model.safetensors", "model.memory.safetensors", "training.safetensors"):
        left, right = load_file(first / name), load_file(second / name)
        assert left.keys() == right.keys()
        count += sum(not np.array_equal(left[key], right[key]) for key in left)
    return count


def leftovers(run: Path) -> set[str]:
    """Names of files that a finished run does not have."""
    return {path.name for path in run.iterdir()} - RUN_FILES if run.exists() else set()


def run_killed(
    train: list[str], resume: list[str], run: Path, kills: int, max_seconds: float
) -> int:
    """Kills a run so many times, then lets it end.

    On a fast machine the run may end before the last kill.

    Args:
        train: the command that begins the run.
        resume: the command that resumes it.
        run: its folder.
        kills: how many times to kill it.
        max_seconds: the longest time from a start to its kill.

    Returns:
        How many kills came while a file was half written.

    Raises:
        SystemExit: the run ended before the first kill.
    """
    interrupted_saves = 0
    for number in range(kills):
        has_state = (run / "training.safetensors").exists()
        leftovers_before = leftovers(run)
        process = subprocess.Popen(resume if has_state else train, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + random.uniform(MIN_SECONDS_TO_KILL, max_seconds)
        while time.monotonic() < deadline and process.poll() is None:
            if number % 2 and leftovers(run) - leftovers_before:
                break
        if process.poll() is not None:
            if number == 0:
                raise SystemExit("the run ended before it was killed: add --steps")
            return interrupted_saves
        process.kill()
        process.wait()
        interrupted_saves += bool(leftovers(run))
    has_state = (run / "training.safetensors").exists()
    subprocess.run(resume if has_state else train, check=True)
    return interrupted_saves


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--kills", default=100)
@click.option("--steps", default=6000)
@click.option("--hidden-size", default=96)
@click.option("--longest", default=5.0, help="Seconds before a kill, at most.")
@click.option("--table/--no-table", default=True, help="Write it to results/kills.md.")
def main(file: Path, kills: int, steps: int, hidden_size: int, longest: float, table: bool) -> None:
    """Kills, compares, prints and writes the table; the exit code is 1 if anything differs."""
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, killed = Path(folder) / "undisturbed", Path(folder) / "killed"
        train = [
            report.CHARGEN, "train", str(file), "--steps", str(steps),
            "--hidden-size", str(hidden_size), "--seed", "3", "--dropout", "0.2", "--quiet",
            "--out",
        ]  # fmt: skip
        began = time.perf_counter()
        subprocess.run([*train, str(undisturbed)], check=True)
        seconds_alone = time.perf_counter() - began
        began = time.perf_counter()
        resume = [report.CHARGEN, "resume", str(killed), "--quiet"]
        interrupted_saves = run_killed([*train, str(killed)], resume, killed, kills, longest)
        seconds_with_kills = time.perf_counter() - began
        different = differences(undisturbed, killed)
        left = leftovers(killed)
    if table:
        report.write(
            "kills",
            "A run killed again and again",
            ["kills", "with a file half written", "tensors and losses that differ",
             "files left behind", "seconds alone", "seconds with all kills"],
            [[str(kills), str(interrupted_saves), str(different), str(len(left)),
              f"{seconds_alone:.0f}", f"{seconds_with_kills:.0f}"]],
            f"{steps} steps of an LSTM of {hidden_size} units with dropout; SIGKILL between "
            f"{MIN_SECONDS_TO_KILL:g} and {longest:g} seconds after each start; every other time "
            "as soon as a temporary file is seen.",
        )  # fmt: skip
    sys.exit(bool(different or left))


if __name__ == "__main__":
    main()
