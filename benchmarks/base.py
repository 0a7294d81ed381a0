"""Trains the models in the box, or packs what was trained elsewhere.

    python benchmarks/base.py english BOOKS [--minutes 120] [--device auto]
    python benchmarks/base.py english BOOKS --trained checkpoints/run

BOOKS is a folder of texts, one file an author; `english` and `tiny` read it, less three authors,
who judge them. `python` reads the standard library of the Python that runs this. The model goes to
checkpoints/NAME in 8 bits a weight, with a card that says what it read and how it was judged.
"""

from __future__ import annotations

import argparse
import hashlib
import string
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import base_text

import chargen
from chargen.model.bases import bases_folder
from chargen.model.checkpoint import load_model, save_model

JUDGES = ("jerome-k-jerome", "kate-chopin", "washington-irving")
"""Authors of the folder that nothing is trained on."""
PASSES, SEED = 2, 0
_NOT_SOURCES = {"test", "tests", "idle_test", "site-packages", "encodings", "pydoc_data",
                "__pycache__", "lib2to3", "turtledemo", "ensurepip"}  # fmt: skip
_JUDGE_EVERY = 25


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model in the box is made."""

    settings: dict[str, Any]
    """Of `chargen.train`."""
    about: dict[str, str]
    """What its card says, a line each."""


_ENGLISH = {
    "reads": (
        "novels, tales and essays in English by 44 authors who died between 1731 and 1946, in the "
        "public domain; one file an author, read in two forms (straight and curly quotation marks; "
        "lines whole and wrapped)"
    ),
    "judged by": "three other authors: Jerome K. Jerome, Kate Chopin, Washington Irving",
}
RECIPES = {
    "english": Recipe(
        settings={"hidden_size": 1024, "batch_size": 256, "bptt": 128, "dropout": 0.0},
        about={
            **_ENGLISH,
            "good for": "English prose: writing in its manner, and as a base for fine-tuning",
            "not good for": (
                "facts, advice, the world after 1946, other languages, code; its sentences are "
                "English, its stories have no plot. The authors' time speaks from it, prejudice "
                "included"
            ),
        },
    ),
    "python": Recipe(
        settings={"hidden_size": 768, "batch_size": 128, "bptt": 128, "dropout": 0.25},
        about={
            "reads": "the modules of Python 3.11's standard library, without its tests",
            "judged by": "every 25th of these modules, by the hash of its path",
            "good for": "Python code: looking inside, and as a base for fine-tuning",
            "not good for": "code that runs",
        },
    ),
    "tiny": Recipe(
        settings={"hidden_size": 256, "batch_size": 128, "bptt": 128, "dropout": 0.0},
        about={
            **_ENGLISH,
            "good for": "lessons and web pages: small enough to look at every weight",
            "not good for": (
                "reading: its sentences mean nothing, and one word in eighty is made up"
            ),
        },
    ),
}


def sources() -> Iterator[tuple[int, str]]:
    """(Hash of its path, text) of every module of the standard library, in the order of hashes."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    modules = []
    for path in folder.rglob("*.py"):
        inner = path.relative_to(folder)
        if _NOT_SOURCES.isdisjoint(inner.parts):
            text = path.read_text(encoding="utf-8", errors="ignore").replace("\t", "    ")
            kept = "".join(sign for sign in text if sign == "\n" or sign in string.printable[:95])
            number = int(hashlib.sha256(str(inner).encode()).hexdigest(), 16)
            modules.append((number, kept.strip("\n") + "\n\n\n"))
    yield from sorted(modules)


def write_texts(name: str, books: Path, text: Path, judges: Path) -> None:
    """Writes what a model reads, and what judges it.

    Args:
        name: of the model.
        books: a folder of one file an author.
        text: the file to train on.
        judges: the file to validate on.
    """
    with text.open("w", encoding="utf-8") as learned, judges.open("w", encoding="utf-8") as kept:
        if name == "python":
            for number, module in sources():
                (kept if number % _JUDGE_EVERY == 0 else learned).write(module)
            return
        learned.writelines(base_text.passes(books, JUDGES, PASSES, SEED))
        for author, book in base_text.books(books):
            if author in JUDGES:
                kept.write(base_text.plain(book) + "\n\n\n")


def pack(name: str, trained: Path) -> Path:
    """Writes a trained model into the box; returns the file.

    Args:
        name: of the model in the box.
        trained: a model file.
    """
    model = load_model(trained)
    path = bases_folder() / name / "model.safetensors"
    path.parent.mkdir(exist_ok=True)
    card = {**model.card, "about": RECIPES[name].about}
    save_model(path, replace(model, card=card, dtype="int8"))
    return path


def main() -> None:
    """Trains or packs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("books", type=Path)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--trained", type=Path, metavar="RUN", help="pack this; train nothing")
    options = parser.parse_args()
    trained = options.trained
    with tempfile.TemporaryDirectory() as temporary:
        if trained is None:
            text, judges = Path(temporary) / "base.txt", Path(temporary) / "judges.txt"
            write_texts(options.name, options.books, text, judges)
            trained = Path("checkpoints") / f"base-{options.name}"
            events = chargen.train(
                text,
                run=trained.name,
                overwrite=True,
                valid=str(judges),
                minutes=options.minutes,
                device=options.device,
                memory=False,
                seed=SEED,
                **RECIPES[options.name].settings,
            )
            for event in events:
                if isinstance(event, chargen.Evaluated | chargen.Finished) and event.score:
                    print(f"step {event.step:,}: {event.score.bits_per_byte:.4f} bits per byte")
        path = pack(options.name, trained / "model.safetensors")
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
