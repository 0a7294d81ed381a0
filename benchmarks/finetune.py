"""What fine-tuning is worth: 20 KB of another text, with a base and without one.

    python benchmarks/finetune.py tinyshakespeare.txt

Two bases of five minutes: tiny Shakespeare, and Python's language reference (in every Python).
Each learns 18,000 characters of the other for a minute, with and without `--replay`; beside it,
a minute and five minutes of training on the same characters from nothing. All are scored by
`chargen eval` on the next 20,000 characters of the text, which none has seen; what a base
has kept of its own text is scored on that text's last 40,000 characters, which no base learned.
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
import report

_CHARGEN = shutil.which("chargen", path=str(Path(sys.executable).parent)) or "chargen"
_SMALL, _TAIL = 20_000, 40_000


def chargen(*arguments: object) -> str:
    """Run the command; its standard output."""
    done = subprocess.run(
        [_CHARGEN, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return done.stdout


def bits(run: Path, file: Path) -> float:
    """Bits per byte, by `chargen eval`."""
    return float(json.loads(chargen("eval", run, file, "--json"))["bits_per_byte"])


def steps_of(run: Path) -> tuple[int, float]:
    """Steps that were made, and the seconds that they took."""
    record = json.loads((run / "run.json").read_text())
    return record["steps"], record["seconds"]


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--bases",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to keep the bases in, and to find them in.",
)
@click.option("--quick", is_flag=True, help="Fine-tuning alone; no table.")
def main(file: Path, bases: Path | None, quick: bool) -> None:
    """Train, fine-tune, score; print and keep the table."""
    reference = "\n".join(text for _, text in sorted(topics.items()))
    texts = {"Shakespeare": file.read_text(encoding="utf-8"), "Python's reference": reference}
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kept = bases or folder
        for number, (name, text) in enumerate(texts.items()):
            old, own = folder / f"old{number}.txt", folder / f"own{number}.txt"
            old.write_text(text[:-_TAIL], encoding="utf-8", newline="")
            own.write_text(text[-_TAIL:], encoding="utf-8", newline="")
            base = kept / f"base{number}"
            if not base.exists():
                chargen("train", old, "--out", base, "--minutes", 5, "--quiet")
            other_name, other = list(texts.items())[1 - number]
            start = len(other) // 3
            small, tail = folder / f"small{number}.txt", folder / f"tail{number}.txt"
            small.write_text(other[start : start + _SMALL], encoding="utf-8", newline="")
            tail.write_text(
                other[start + _SMALL : start + 2 * _SMALL], encoding="utf-8", newline=""
            )
            runs = {one: folder / f"{one}{number}" for one in ("tuned", "replay", "one", "five")}
            chargen("finetune", base, small, "--out", runs["tuned"], "--minutes", 1, "--quiet")
            chargen("finetune", base, small, "--out", runs["replay"], "--minutes", 1, "--quiet",
                    "--replay", old)  # fmt: skip
            if not quick:
                for minutes, which in ((1, "one"), (5, "five")):
                    chargen("train", small, "--out", runs[which], "--minutes", minutes, "--quiet")
            found = {which: bits(run, tail) for which, run in runs.items() if run.exists()}
            found["base"] = bits(base, tail)
            before = bits(base, own)
            lost = {which: bits(runs[which], own) / before - 1 for which in ("tuned", "replay")}
            print(name, found, lost, {k: steps_of(r) for k, r in runs.items() if r.exists()})
            if quick:
                continue
            tuned = found["tuned"]
            rows.append(
                [name, other_name, f"{found['base']:.3f}", f"{tuned:.3f}",
                 f"{found['one']:.3f} ({1 - tuned / found['one']:.0%} fewer)",
                 f"{found['five']:.3f} ({1 - tuned / found['five']:.0%} fewer)",
                 f"{lost['tuned']:+.1%}", f"{found['replay']:.3f}", f"{lost['replay']:+.1%}"]
            )  # fmt: skip
    if not quick:
        report.write(
            "finetune",
            "Fine-tuning on 20 KB, bits per byte of the 20 KB that follow",
            ["base", "new text", "base alone", "1 minute of fine-tuning", "1 minute from nothing",
             "5 minutes from nothing", "the old text by it", "with --replay",
             "the old text by that"],
            rows,
            "Goals: 15 % fewer bits than a minute from nothing, 5 % fewer than five; with --replay "
            "the old text costs at most 3 % more.",
        )  # fmt: skip


if __name__ == "__main__":
    main()
