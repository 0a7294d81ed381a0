"""Compares two checkouts of chargen on this machine, in turn: start, writing, training, scoring.

    python benchmarks/versions.py OLD_CHECKOUT [NEW_CHECKOUT] [--rounds N] [--name NAME]

A refactoring must leave these figures within noise. Each figure comes from a process of its own
that imports one checkout by PYTHONPATH; the checkouts take turns, so a busy moment affects both.
Everything goes through public names, so the checkouts may differ inside. NAME is the name of the
table in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import report

TEXT = """
import random
words = "the a sea lamp letter of and sang to old green river house, was in that. it with".split()
generator = random.Random(1)
text = " ".join(generator.choice(words) for _ in range(60_000))
open("text.txt", "w").write(text)
"""
TRAIN = """
import chargen, json, sys
settings = json.loads(sys.argv[1])
marks = {}
for event in chargen.train("text.txt", run="speed", overwrite=True, evaluations=1, seed=1,
                           valid_fraction=0.01, **settings):
    if type(event).__name__ == "StepDone":
        marks[event.step] = event.seconds
        per_step = event.tokens / event.step
first, last = 11, settings["steps"] - 1
print(per_step * (last - first) / (marks[last] - marks[first]))
"""
WRITE = """
import chargen, time
model = chargen.load("speed")
for _ in model.generate("the", length=200, seed=1): pass
began = time.perf_counter()
for _ in model.generate("the", length=4000, seed=1): pass
print(4000 / (time.perf_counter() - began))
"""
SCORE = """
import chargen, time
model = chargen.load("speed")
text = open("text.txt").read()[:30_000]
began = time.perf_counter()
model.score(text)
print(len(text) / (time.perf_counter() - began))
"""
SHAPES = {
    "LSTM 1x448, 32 x 48": {"hidden_size": 448, "batch_size": 32, "bptt": 48, "steps": 80},
    "GRU 2x512, 64 x 128": {
        "cell": "gru",
        "hidden_size": 512,
        "num_layers": 2,
        "batch_size": 64,
        "bptt": 128,
        "steps": 30,
    },
    "LSTM 2x512, 64 x 128": {
        "hidden_size": 512,
        "num_layers": 2,
        "batch_size": 64,
        "bptt": 128,
        "steps": 30,
    },
}


def run(checkout: Path, code: str, *arguments: str) -> float:
    """The number that a program prints, with one checkout's chargen."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def measure(checkouts: list[Path], rounds: int) -> dict[str, list[list[float]]]:
    """Figures of each checkout, by name: one list of rounds for each."""
    figures: dict[str, list[list[float]]] = {}

    def note(name: str, number: int, value: float) -> None:
        figures.setdefault(name, [[] for _ in checkouts])[number].append(value)

    starts = {
        "chargen --help": ["--help"],
        "first character, LSTM 2x512": ["sample", "speed", "-p", "the", "--length", "20"],
    }
    for _ in range(rounds):
        for shape, settings in SHAPES.items():
            for number, checkout in enumerate(checkouts):
                speed = run(checkout, TRAIN, json.dumps(settings))
                note(f"training, {shape}: tokens a second", number, speed)
        for number, checkout in enumerate(checkouts):
            note("writing, LSTM 2x512: characters a second", number, run(checkout, WRITE))
            note("scoring, LSTM 2x512: characters a second", number, run(checkout, SCORE))
            for _ in range(3):
                for name, arguments in starts.items():
                    command = [sys.executable, "-m", "chargen", *arguments]
                    took = report.seconds_to_first_byte(command, PYTHONPATH=str(checkout))
                    note(f"{name}: seconds", number, took)
    return figures


def main() -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path, nargs="?", default=Path(__file__).parents[1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", default="versions")
    arguments = parser.parse_args()
    checkouts = [arguments.old.resolve(), arguments.new.resolve()]
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["CHARGEN_CACHE"] = folder
        exec(TEXT, {})
        figures = measure(checkouts, arguments.rounds)
        os.chdir(here)
    rows = []
    for name, (old, new) in figures.items():
        spreads = [f"{median(values):.4g} ({min(values):.4g} to {max(values):.4g})"
                   for values in (old, new)]  # fmt: skip
        rows.append([name, *spreads, f"{median(new) / median(old):.3f}"])
    report.write(
        arguments.name,
        "Two versions in turn",
        ["what", "before", "after", "after / before"],
        rows,
        f"Medians of {arguments.rounds} rounds (starts: {3 * arguments.rounds}), lowest and "
        "highest in brackets.",
    )


if __name__ == "__main__":
    main()
