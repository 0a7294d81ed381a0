"""What distilling is worth: six networks side by side, and one that learns from them or not.

    python benchmarks/distil.py tinyshakespeare.txt --teacher-minutes 30 --minutes 30 --runs FOLDER

The teacher has six groups and trains for `--teacher-minutes`. One network trains on the text alone
for `--minutes`, another of the same size is distilled from the teacher for as many. `--sizes` gives
their units; 0 is what `chargen train` plans. `--shares` gives the teacher's shares of the loss.
`chargen eval` scores all of them on the last tenth of the text, which is also the validation part
of each, without the counts beside them.

The share of the gain that is kept is (alone - distilled) / (alone - teacher), in nats per token: 0
is as good as alone, 1 as good as the teacher. It says little where the teacher gains little. The
speed is that of writing, in turns, each network in its own process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import report

import chargen as library
from chargen.distil_api import DEFAULT_TEACHER_SHARE
from chargen.model.runs import FINISHED, read_run

TEACHER_GROUPS = 6
WRITTEN_TOKENS, ROUNDS = 1_000, 5


def chargen(*arguments: object) -> str:
    """Runs the command; returns its standard output."""
    done = subprocess.run(
        [report.CHARGEN, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return done.stdout


def nats_per_token(run: Path, tail: Path) -> float:
    """The score of `chargen eval`, of the network alone."""
    score = json.loads(chargen("eval", run, tail, "--json"))
    return float(score.get("network_nats_per_token", score["nats_per_token"]))


def writer(path: str) -> Callable[[], object]:
    """A function that writes with the network of a run."""
    model = library.load(path)

    def write() -> None:
        for _ in model.generate("", length=WRITTEN_TOKENS, stop_at_end=False, memory="off"):
            pass

    return write


def row_of(name: str, run: Path, nats: float, kept: str, seconds: float) -> list[str]:
    """A row of the table.

    Args:
        name: of the network.
        run: its folder.
        nats: per token.
        kept: share of the gain.
        seconds: that it takes to write.
    """
    model = library.load(run).config
    minutes, speed = read_run(run)["seconds"] / 60, WRITTEN_TOKENS / seconds
    return [name, model.units_label, f"{minutes:.1f}", f"{nats:.4f}", kept, f"{speed:,.0f}"]


def main() -> None:
    """Trains, distils, scores; prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--teacher-minutes", type=float, default=30.0)
    parser.add_argument("--minutes", type=float, default=30.0, help="of each other network")
    parser.add_argument("--sizes", type=int, nargs="+", default=[0], help="units; 0: planned")
    parser.add_argument("--shares", type=float, nargs="+", default=[DEFAULT_TEACHER_SHARE])
    parser.add_argument("--teacher-size", type=int, help="units of all groups; default: planned")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, help="keeps the runs there, and uses them again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.runs or Path(temporary)
        rows = compare(options, folder)
    report.write(
        "distil",
        f"Distilling six networks into one: the last tenth of {options.file.name}",
        ["network", "size", "minutes", "nats per token", "share of the gain that is kept",
         "characters a second, writing", "times the teacher's"],
        rows,
        "The gain is that of the teacher over one network that learned from the text alone, for as "
        "long as the student. Minutes of the teacher are not counted as the student's.",
    )  # fmt: skip


def compare(options: argparse.Namespace, folder: Path) -> list[list[str]]:
    """The rows of the table; see the head of this file."""
    folder.mkdir(parents=True, exist_ok=True)
    text = options.file.read_text(encoding="utf-8")
    tail = folder / "tail.txt"
    tail.write_text(text[int(len(text) * 0.9) :], encoding="utf-8", newline="")
    common = ["--seed", options.seed, "--no-memory", "--quiet"]

    def made(name: str, *arguments: object) -> Path:
        run = folder / name
        if read_run(run).get("status") not in FINISHED:
            chargen(*arguments, "--out", run, "--overwrite", *common)
        return run

    teacher_size = ["--hidden-size", options.teacher_size] if options.teacher_size else []
    teacher = made(
        "teacher", "train", options.file, "--groups", TEACHER_GROUPS, *teacher_size,
        "--minutes", options.teacher_minutes,
    )  # fmt: skip
    runs = {"teacher": (teacher, nats_per_token(teacher, tail), "")}
    for asked in options.sizes:
        size = ["--hidden-size", asked] if asked else []
        alone = made(
            f"alone-{asked}", "train", options.file, "--groups", 1, *size,
            "--minutes", options.minutes,
        )  # fmt: skip
        units = library.load(alone).config.hidden_size  # the student has as many
        nats_alone = nats_per_token(alone, tail)
        runs[f"{units} units, alone"] = alone, nats_alone, "0%"
        for share in options.shares:
            student = made(
                f"student-{asked}-{share:g}", "distil", teacher, "--hidden-size", units,
                "--minutes", options.minutes, "--teacher-share", share,
            )  # fmt: skip
            nats = nats_per_token(student, tail)
            gain = nats_alone - runs["teacher"][1]
            kept = f"{(nats_alone - nats) / gain:.0%}" if gain > 0 else "the teacher gains nothing"
            runs[f"{units} units, distilled, share {share:g}"] = student, nats, kept
    writers = [partial(writer, str(run)) for run, _, _ in runs.values()]
    times = report.between_processes(writers, ROUNDS)
    rows = []
    for (name, (run, nats, kept)), seconds in zip(runs.items(), times, strict=True):
        rows.append(row_of(name, run, nats, kept, median(seconds)))
        rows[-1].append(f"{median(times[0]) / median(seconds):.1f}")
    return rows


if __name__ == "__main__":
    main()
