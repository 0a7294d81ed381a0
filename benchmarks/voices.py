"""What a base is worth: little of a new text, learned from a model in the box and from nothing.

    python benchmarks/voices.py TEXT ... [--sizes 20 200] [--minutes 1]

From each TEXT, the first 20,000 characters (then 200,000) are learned, for a minute each: by
`chargen finetune` from the base that it chooses, and by `chargen train`. `chargen eval` scores both
on the 60,000 characters that follow, and the base alone. "Network" is the network alone,
"together" is with the counts of the new text beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import mean

import report

SCORED_CHARACTERS = 60_000


def chargen(*arguments: object) -> str:
    """Runs the command; returns its standard output."""
    done = subprocess.run(
        [report.CHARGEN, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return done.stdout


def bits_per_byte(model: object, text: Path, *options: str) -> float:
    """The score of `chargen eval`."""
    return float(json.loads(chargen("eval", model, text, "--json", *options))["bits_per_byte"])


def compare(path: Path, characters: int, minutes: float, more: list[str]) -> list[float]:
    """Bits per byte: base alone; tuned, network and together; from nothing, the same; seconds.

    Args:
        path: the text.
        characters: to learn.
        minutes: of each training.
        more: options of `finetune`.
    """
    text = path.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        learned, scored = folder / "learned.txt", folder / "scored.txt"
        learned.write_text(text[:characters], encoding="utf-8")
        scored.write_text(text[characters : characters + SCORED_CHARACTERS], encoding="utf-8")
        began = time.perf_counter()
        chargen("finetune", learned, "--out", folder / "tuned", "--minutes", minutes, "-q", *more)
        seconds = time.perf_counter() - began
        record = json.loads((folder / "tuned" / "run.json").read_text())
        base = Path(record["text"]["base_path"])
        chargen("train", learned, "--out", folder / "new", "--minutes", minutes, "-q")
        figures = [bits_per_byte(base, scored)]
        for run in ("tuned", "new"):
            figures.append(bits_per_byte(folder / run, scored, "--no-memory"))
            figures.append(bits_per_byte(folder / run, scored))
    return [*figures, seconds]


def main() -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    parser.add_argument("--sizes", nargs="+", type=int, default=[20, 200], help="in KB")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--name", default="voices", help="of the file of results")
    parser.add_argument("--option", nargs="+", default=[], help="of finetune, as name=value")
    options = parser.parse_args()
    more = [part for pair in options.option for part in f"--{pair}".split("=")]
    rows, notes = [], []
    for size in options.sizes:
        of_nothing, of_base = [], []
        for path in options.texts:
            figures = compare(path, size * 1000, options.minutes, more)
            alone, _, together, _, nothing, _ = figures
            of_nothing.append(1 - together / nothing)
            of_base.append(1 - together / alone)
            rows.append([path.stem, f"{size} KB", *(f"{value:.3f}" for value in figures[:-1]),
                         f"{100 * of_nothing[-1]:.0f} %", f"{100 * of_base[-1]:.1f} %",
                         f"{figures[-1]:.0f}"])  # fmt: skip
            print(" | ".join(rows[-1]), flush=True)
        notes.append(
            f"Mean at {size} KB: {100 * mean(of_nothing):.1f} % fewer bits than from nothing, "
            f"{100 * mean(of_base):.1f} % fewer than the base alone."
        )
    report.write(
        options.name,
        f"A base from the box, {options.minutes:g} minute of fine-tuning: bits per byte of the "
        "60 KB that follow",
        ["text", "learned", "base alone", "tuned network", "tuned, together", "new network",
         "new, together", "fewer than new", "fewer than base", "seconds"],
        rows,
        *notes,
    )  # fmt: skip


if __name__ == "__main__":
    main()
