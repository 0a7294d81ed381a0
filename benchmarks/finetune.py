"""What fine-tuning is worth: 20 KB of a new text, learned with a base and without one.

    python benchmarks/finetune.py tinyshakespeare.txt [--bases FOLDER]

Two bases train for five minutes with default settings. The first reads Python's standard library,
and then learns 20,000 characters of another Python project (click's core.py). The second reads tiny
Shakespeare, and then learns 20,000 characters of Python's language reference, English of a very
different kind.

A minute of fine-tuning, with and without `--replay`, is compared with a minute and with five
minutes of training on the same characters from random weights. `chargen eval` scores all of them on
the next 20,000 characters, which none has read. What the base loses on its own text comes from the
card of the run with `--replay`.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import click
import click.core
import report

TEXT_CHARACTERS = 20_000
"""Characters to learn, and characters to score."""


def chargen(*arguments: object) -> str:
    """Runs the command; returns its standard output."""
    done = subprocess.run(
        [report.CHARGEN, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return done.stdout


def bits_per_byte(run: Path, text: Path) -> float:
    """The score of `chargen eval`."""
    return float(json.loads(chargen("eval", run, text, "--json"))["bits_per_byte"])


def seconds_of(run: Path) -> float:
    """Wall time of a run."""
    return float(json.loads((run / "run.json").read_text())["seconds"])


def compare(corpus: str, text: str, base: Path, folder: Path, minutes: float) -> list[str]:
    """Fine-tunes, trains from random weights and scores: a row of the table without its names.

    Args:
        corpus: CORPUS argument of the base's own text.
        text: the new text; its beginning is learned, and what follows is scored.
        base: run folder of the base.
        folder: where the runs are made.
        minutes: of fine-tuning, and of the shorter training from random weights.
    """
    small, tail = folder / "small.txt", folder / "tail.txt"
    small.write_text(text[:TEXT_CHARACTERS], encoding="utf-8", newline="")
    tail.write_text(text[TEXT_CHARACTERS : 2 * TEXT_CHARACTERS], encoding="utf-8", newline="")
    tuned, replay, short, long = (folder / name for name in ("tuned", "replay", "short", "long"))
    length = "--minutes", minutes, "--quiet"
    chargen("finetune", base, small, "--out", tuned, *length)
    chargen("finetune", base, small, "--out", replay, "--replay", corpus, *length)
    chargen("train", small, "--out", short, *length)
    chargen("train", small, "--out", long, "--minutes", 5 * minutes, "--quiet")
    tuned_bits = bits_per_byte(tuned, tail)
    old_text = json.loads((replay / "run.json").read_text())["card"]["old_text"]
    growth = old_text["after"]["bits_per_byte"] / old_text["before"]["bits_per_byte"] - 1
    row = [f"{bits_per_byte(base, tail):.3f}", f"{tuned_bits:.3f} ({seconds_of(tuned):.0f} s)"]
    for run in (short, long):
        bits = bits_per_byte(run, tail)
        row.append(f"{bits:.3f} ({1 - tuned_bits / bits:.0%} fewer bits by fine-tuning)")
    row.append(f"{bits_per_byte(replay, tail):.3f} ({seconds_of(replay):.0f} s)")
    return [*row, f"{growth:+.1%}"]


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--bases",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps the bases; a base that is there already is used again.",
)
@click.option(
    "--minutes", default=1.0, show_default=True, help="Of fine-tuning; bases train 5 times as long."
)
def main(file: Path, bases: Path | None, minutes: float) -> None:
    """Trains, fine-tunes and scores; prints and writes the table."""
    reference = "\n".join(text for _, text in sorted(topics.items()))
    project = Path(click.core.__file__).read_text(encoding="utf-8")
    pairs = {
        "library": ("builtin:python-code", project, "Python's library", "another Python project"),
        "shakespeare": (str(file), reference[len(reference) // 3 :], "tiny Shakespeare",
                        "Python's reference"),
    }  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, (corpus, text, old, new) in pairs.items():
            base = (bases or Path(temporary)) / name
            if not base.exists():
                chargen("train", corpus, "--out", base, "--minutes", 5 * minutes, "--quiet")
            folder = Path(temporary) / f"of-{name}"
            folder.mkdir()
            rows.append([old, new, *compare(corpus, text, base, folder, minutes)])
            print(rows[-1])
    shorter, longer = _minutes(minutes), _minutes(5 * minutes)
    report.write(
        "finetune",
        "Fine-tuning on 20 KB: bits per byte of the 20 KB that follow",
        [f"base, {longer}", "new text", "base alone", f"fine-tuned, at most {shorter}",
         f"{shorter} from nothing", f"{longer} from nothing", "with --replay",
         "its own text, with --replay"],
        rows,
        "Goals: 15 % fewer bits than a minute from nothing, 5 % fewer than five minutes; with "
        "--replay the base's own text costs at most 3 % more.",
    )  # fmt: skip


def _minutes(count: float) -> str:
    return f"{count:g} minute{'' if count == 1 else 's'}"


if __name__ == "__main__":
    main()
