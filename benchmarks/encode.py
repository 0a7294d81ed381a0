"""Encoding a large text, and training on it: characters a second, and peak memory.

Makes its own text (about a gigabyte, in a temporary folder), in English-like ASCII and in a mix
of scripts, and encodes it in a process of its own so that the peak is that of encoding alone.
Training is the command itself for half a minute; what importing torch takes is told beside it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import report

WORDS = {
    "ASCII": "the of and to in a is that for it as was with be by on not he his but at are this",
    "mixed scripts": "der Größe été niño слово мир λόγος 文字 言葉 العربية שלום कथा 🙂 — “so”",
}
GIGABYTE = 1_000_000_000
TEXTS = (
    ("ASCII", "char", 1.0),
    ("mixed scripts", "char", 1.0),
    ("ASCII", "byte", 1.0),
    ("ASCII", "subword", 0.1),
    ("mixed scripts", "subword", 0.1),
)


def make_text(path: Path, words: list[str], size: int) -> None:
    """Lines of random words, the same few megabytes again and again."""
    random = np.random.default_rng(0)
    block = ""
    while len(block) < 4_000_000:
        line = random.choice(words, 12)
        block += " ".join(line.tolist()) + "\n"
    data = block.encode()
    with path.open("wb") as out:
        for _ in range(max(1, size // len(data))):
            out.write(data)


def _peak() -> int:
    """Bytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def encode(path: str, kind: str) -> None:
    """Encode one file and print characters, seconds and peak memory in bytes."""
    from chargen.text.corpus import open_corpus
    from chargen.text.reader import Reading
    from chargen.text.store import build_tokenizer, encode_corpus

    began = time.perf_counter()
    corpus = open_corpus([path], reading=Reading(as_bytes=kind == "byte"))
    tokenizer, (fingerprints,) = build_tokenizer(corpus, kind, 8000 if kind == "subword" else None)
    learned = time.perf_counter()
    encode_corpus(corpus, tokenizer, fingerprints)
    took = time.perf_counter() - began
    characters = sum(len(piece) for piece in corpus.pieces() if piece)
    print(characters, took, learned - began, _peak())


def train(path: str, kind: str) -> None:
    """Train for half a minute and print tokens learned, seconds, those before, and peak memory."""
    import torch

    with_torch = _peak()
    torch.ones(2, 2) @ torch.ones(2, 2)
    import chargen

    began, first, tokens = time.perf_counter(), None, 0
    for event in chargen.train(path, tokenizer=kind, minutes=0.5, out=Path(path).parent / "run"):
        if type(event).__name__ == "StepDone":
            first = first or time.perf_counter()
            tokens = event.tokens
    print(tokens, time.perf_counter() - began, (first or began) - began, _peak(), with_torch)


def _child(what: str, path: Path, kind: str) -> list[float]:
    result = subprocess.run(
        [sys.executable, __file__, "--child", what, str(path), kind],
        env={**os.environ, "CHARGEN_CACHE": str(path.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(one) for one in result.stdout.split()]


def main() -> None:
    """Measure, print and write the table."""
    size = int(float(sys.argv[1]) * GIGABYTE) if len(sys.argv) > 1 else GIGABYTE
    rows, notes = [], []
    for number, (script, kind, share) in enumerate(TEXTS):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "text.txt")
            make_text(path, WORDS[script].split(), int(size * share))
            characters, took, learned, peak = _child("encode", path, kind)
            rows.append(
                [
                    script,
                    kind,
                    f"{path.stat().st_size / 1e9:.2f} GB",
                    f"{took:.1f}",
                    f"{learned:.1f}",
                    f"{characters / took / 1e6:.0f} M",
                    f"{characters / (took - learned) / 1e6:.1f} M",
                    f"{peak / 1e6:.0f} MB",
                ]
            )
            if number == 0:
                tokens, took, before, peak, torch = _child("train", path, kind)
                notes.append(
                    f"Training on the first of them for half a minute (`--minutes 0.5`): "
                    f"{tokens / 1e6:.1f} M tokens in {took:.0f} s, the first after {before:.1f} s; "
                    f"peak memory {peak / 1e6:.0f} MB, of which importing torch took "
                    f"{torch / 1e6:.0f} MB. Goal: below 600 MB beside torch."
                )
    report.write(
        "encode",
        "Encoding a large text",
        ["text", "tokenizer", "file", "seconds", "of which finding the vocabulary",
         "characters a second", "encoding alone", "peak memory of the process"],
        rows,
        "From the file to the finished token store: hashing, finding the vocabulary, encoding and "
        "writing. Goal: 50 M characters a second with the char tokenizer, at most 600 MB. Subword "
        "pieces (8,000) are learned from a sample of at most 20 M characters.",
        "",
        *notes,
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        {"encode": encode, "train": train}[sys.argv[2]](*sys.argv[3:])
    else:
        main()
