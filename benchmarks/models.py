"""The models in the box: how they predict what they have not read, what they write, how fast.

    python benchmarks/models.py BOOKS

BOOKS is the folder of one file an author that `english` was trained on, less the authors who judge
it. "Real words" are the words of a text written at temperature 0.7 that occur at least twice in
that folder; words with a capital letter inside a sentence are not counted. The samples are the
first ten that were drawn.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

import base
import base_text
import report

import chargen
from chargen.model.bases import base_path

_SCORED_CHARACTERS = 60_000
_WRITTEN_CHARACTERS = 20_000
_SPEED_CHARACTERS = 3_000
_SAMPLES = ((0.5, 3), (0.7, 4), (0.9, 3))
"""Temperatures, and how many samples of each."""
_SAMPLE_CHARACTERS = 320
_PROMPT = "It was a dark and stormy night"


def word_list(folder: Path) -> set[str]:
    """Words that occur at least twice in a folder of books, in lower case."""
    counts: Counter[str] = Counter()
    for _, book in base_text.books(folder):
        counts.update(re.findall(r"[a-z]+", base_text.plain(book).lower()))
    return {word for word, count in counts.items() if count > 1}


def real_words(text: str, known: set[str]) -> float:
    """Share of the words of a text that are in a list; names are left out."""
    words = re.findall(r"[A-Za-z]+", text)
    common = [word for word in words if word.islower() and len(word) > 1]
    return sum(word in known for word in common) / len(common)


def judged(name: str, folder: Path) -> dict[str, str]:
    """The texts that judge a model: name and beginning of each."""
    if name == "python":
        with tempfile.TemporaryDirectory() as temporary:
            learned, kept = Path(temporary) / "learned", Path(temporary) / "kept"
            base.write_texts(name, folder, learned, kept)
            return {"other modules": kept.read_text(encoding="utf-8")[:_SCORED_CHARACTERS]}
    texts: dict[str, str] = {}
    for author, book in base_text.books(folder):
        if author in base.JUDGES:
            texts[author] = texts.get(author, "") + base_text.plain(book) + "\n\n\n"
    return {author: text[:_SCORED_CHARACTERS] for author, text in texts.items()}


def written(model: chargen.Model, length: int, temperature: float, seed: int) -> str:
    """A text after the prompt, with it."""
    steps = model.generate(_PROMPT, length=length, temperature=temperature, seed=seed)
    return _PROMPT + "".join(step.text for step in steps)


def main() -> None:
    """Measures, prints and writes the table and the samples."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("books", type=Path)
    options = parser.parse_args()
    known, rows, lines = word_list(options.books), [], []
    for name in base.RECIPES:
        path = base_path(name)
        assert path is not None
        model = chargen.load(path)
        bits = {
            author: model.score(text).bits_per_byte
            for author, text in judged(name, options.books).items()
        }
        lines.append(
            f"{name}: " + ", ".join(f"{author} {value:.3f}" for author, value in bits.items())
        )
        began = time.perf_counter()
        written(model, _SPEED_CHARACTERS, 0.7, 0)
        speed = _SPEED_CHARACTERS / (time.perf_counter() - began)
        share = "-"
        if name != "python":
            share = f"{real_words(written(model, _WRITTEN_CHARACTERS, 0.7, 1), known):.1%}"
        rows.append([
            name, f"{model.config.cell_row.label} 1x{model.config.hidden_size}",
            f"{path.stat().st_size / 1e6:.2f} MB", f"{sum(bits.values()) / len(bits):.3f}", share,
            f"{speed:,.0f}",
        ])  # fmt: skip
    english = chargen.load(base_path("english"))
    samples, seed = ["", "## Ten samples of english, as they came"], 0
    for temperature, count in _SAMPLES:
        samples += ["", f"### Temperature {temperature}"]
        for _ in range(count):
            seed += 1
            text = written(english, _SAMPLE_CHARACTERS, temperature, seed)
            samples += ["", f"Seed {seed}:", "", "```", text, "```"]
    report.write(
        "models",
        "The models in the box",
        ["model", "network", "file", "bits per byte of what it has not read", "real words at 0.7",
         "characters written a second"],
        rows,
        "Bits per byte of the first 60,000 characters of each text, network alone: "
        + "; ".join(lines) + ".",
        *samples,
    )  # fmt: skip


if __name__ == "__main__":
    main()
