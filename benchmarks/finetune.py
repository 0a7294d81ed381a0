"""What fine-tuning is worth: 20 KB of another text, with a base and without one.

    python benchmarks/finetune.py tinyshakespeare.txt

Two bases of five minutes and default settings: Python's standard library, which then learns 20,000
characters of another Python project (click's core.py), and tiny Shakespeare, which then learns
20,000 characters of Python's language reference, as far from it as English goes. Beside a minute of
fine-tuning, with and without `--replay`, stand a minute and five minutes of training on the same
characters from nothing. All are scored by `chargen eval` on the next 20,000 characters, which
none has seen. What the base loses of its own text is what the run's card says.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import click
import click.core
import report

_CHARGEN = shutil.which("chargen", path=str(Path(sys.executable).parent)) or "chargen"
_SMALL = 20_000


def chargen(*arguments: object) -> str:
    """Run the command; its standard output."""
    done = subprocess.run(
        [_CHARGEN, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return done.stdout


def bits(run: Path, file: Path) -> float:
    """Bits per byte, by `chargen eval`."""
    return float(json.loads(chargen("eval", run, file, "--json"))["bits_per_byte"])


def seconds_of(run: Path) -> float:
    """Wall time of a run."""
    return float(json.loads((run / "run.json").read_text())["seconds"])


def compare(corpus: str, text: str, base: Path, folder: Path) -> list[str]:
    """Fine-tune, train from nothing, score; a row of the table without its names."""
    small, tail = folder / "small.txt", folder / "tail.txt"
    small.write_text(text[:_SMALL], encoding="utf-8", newline="")
    tail.write_text(text[_SMALL : 2 * _SMALL], encoding="utf-8", newline="")
    runs = {one: folder / one for one in ("tuned", "replay", "one", "five")}
    chargen("finetune", base, small, "--out", runs["tuned"], "--minutes", 1, "--quiet")
    chargen("finetune", base, small, "--out", runs["replay"], "--minutes", 1, "--quiet",
            "--replay", corpus)  # fmt: skip
    for minutes, which in ((1, "one"), (5, "five")):
        chargen("train", small, "--out", runs[which], "--minutes", minutes, "--quiet")
    found = {which: bits(run, tail) for which, run in runs.items()}
    card = json.loads((runs["replay"] / "run.json").read_text())["card"]["old_text"]
    lost = card["after"]["bits_per_byte"] / card["before"]["bits_per_byte"] - 1
    row = [f"{bits(base, tail):.3f}", f"{found['tuned']:.3f} ({seconds_of(runs['tuned']):.0f} s)"]
    row += [
        f"{found[one]:.3f} ({1 - found['tuned'] / found[one]:.0%} fewer bits by fine-tuning)"
        for one in ("one", "five")
    ]
    return [*row, f"{found['replay']:.3f} ({seconds_of(runs['replay']):.0f} s)", f"{lost:+.1%}"]


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--bases",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to keep the bases in, and to find them in.",
)
def main(file: Path, bases: Path | None) -> None:
    """Train, fine-tune, score; print and keep the table."""
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
                chargen("train", corpus, "--out", base, "--minutes", 5, "--quiet")
            folder = Path(temporary) / f"of-{name}"
            folder.mkdir()
            rows.append([old, new, *compare(corpus, text, base, folder)])
            print(rows[-1])
    report.write(
        "finetune",
        "Fine-tuning on 20 KB: bits per byte of the 20 KB that follow",
        ["base, 5 minutes", "new text", "base alone", "fine-tuned, at most a minute",
         "1 minute from nothing", "5 minutes from nothing", "with --replay",
         "its own text, with --replay"],
        rows,
        "Goals: 15 % fewer bits than a minute from nothing, 5 % fewer than five minutes; with "
        "--replay the base's own text costs at most 3 % more.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
