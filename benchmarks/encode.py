"""Encoding a large text, and training on it: characters a second, and peak memory.

    python benchmarks/encode.py [GIGABYTES]

Makes its own texts in a temporary folder: one of GIGABYTES (default: 1) in English-like ASCII, one
in a mix of scripts. Each is encoded in its own process, so the peak memory is that of encoding
alone. Then `chargen.train` runs for half a minute, also in its own process; the memory that
importing torch takes is reported separately.
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
RUNS = (
    ("ASCII", "char", 1.0),
    ("mixed scripts", "char", 1.0),
    ("ASCII", "byte", 1.0),
    ("ASCII", "subword", 0.1),
    ("mixed scripts", "subword", 0.1),
)
"""Words of the text, tokenizer, share of the size that was asked for."""
BLOCK_CHARACTERS, WORDS_PER_LINE = 4_000_000, 12
SUBWORDS = 8000
TRAINING_MINUTES = 0.5


def make_text(path: Path, words: list[str], size: int) -> None:
    """Writes about `size` bytes: lines of random words, the same few megabytes again and again."""
    random = np.random.default_rng(0)
    block = ""
    while len(block) < BLOCK_CHARACTERS:
        line = random.choice(words, WORDS_PER_LINE)
        block += " ".join(line.tolist()) + "\n"
    data = block.encode()
    with path.open("wb") as handle:
        for _ in range(max(1, size // len(data))):
            handle.write(data)


def peak_bytes() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def encode(path: str, tokenizer_name: str) -> None:
    """Encodes a file; prints characters, seconds, seconds of the tokenizer, and peak memory."""
    from chargen.text.corpus import open_corpus
    from chargen.text.letters import Letters
    from chargen.text.reading import Reading
    from chargen.text.store import build_tokenizer, encode_corpus

    began = time.perf_counter()
    is_bytes = tokenizer_name == "byte"
    letters = Letters(normalize="none" if is_bytes else "nfc")  # as `train` reads by default
    corpus = open_corpus([path], reading=Reading(as_bytes=is_bytes, letters=letters))
    vocab_size = SUBWORDS if tokenizer_name == "subword" else None
    tokenizer, (fingerprints,) = build_tokenizer(corpus, tokenizer_name, vocab_size)
    tokenizer_seconds = time.perf_counter() - began
    encode_corpus(corpus, tokenizer, fingerprints)
    seconds = time.perf_counter() - began
    characters = sum(len(piece) for piece in corpus.pieces() if piece)
    print(characters, seconds, tokenizer_seconds, peak_bytes())


def train(path: str, tokenizer_name: str) -> None:
    """Trains for half a minute.

    Prints tokens, seconds, seconds before the first step was done, peak memory, and peak memory
    after torch was imported.
    """
    import torch

    torch_bytes = peak_bytes()
    torch.ones(2, 2) @ torch.ones(2, 2)
    import chargen

    began, first_step, tokens = time.perf_counter(), None, 0
    for event in chargen.train(
        path, tokenizer=tokenizer_name, minutes=TRAINING_MINUTES, out=Path(path).parent / "run"
    ):
        if isinstance(event, chargen.StepDone):
            first_step = first_step or time.perf_counter()
            tokens = event.tokens
    seconds = time.perf_counter() - began
    print(tokens, seconds, (first_step or began) - began, peak_bytes(), torch_bytes)


def in_own_process(function: str, path: Path, tokenizer_name: str) -> list[float]:
    """The numbers that `encode` or `train` prints in a process of its own."""
    result = subprocess.run(
        [sys.executable, __file__, "--child", function, str(path), tokenizer_name],
        env={**os.environ, "CHARGEN_CACHE": str(path.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(number) for number in result.stdout.split()]


def encoding_row(path: Path, script: str, tokenizer_name: str) -> list[str]:
    """A row of the table."""
    characters, seconds, tokenizer_seconds, peak = in_own_process("encode", path, tokenizer_name)
    return [
        script,
        tokenizer_name,
        f"{path.stat().st_size / 1e9:.2f} GB",
        f"{seconds:.1f}",
        f"{tokenizer_seconds:.1f}",
        f"{characters / seconds / 1e6:.0f} M",
        f"{characters / (seconds - tokenizer_seconds) / 1e6:.1f} M",
        f"{peak / 1e6:.0f} MB",
    ]


def training_note(path: Path, tokenizer_name: str) -> str:
    """The line below the table about training."""
    tokens, seconds, before_first, peak, torch_bytes = in_own_process("train", path, tokenizer_name)
    return (
        f"Training on the first text for half a minute (`--minutes {TRAINING_MINUTES}`): "
        f"{tokens / 1e6:.1f} M tokens in {seconds:.0f} s, the first step after "
        f"{before_first:.1f} s; peak memory {peak / 1e6:.0f} MB, of which importing torch took "
        f"{torch_bytes / 1e6:.0f} MB. Goal: below 600 MB beside torch."
    )


def main() -> None:
    """Measures, prints and writes the table."""
    size = int(float(sys.argv[1]) * GIGABYTE) if len(sys.argv) > 1 else GIGABYTE
    rows, notes = [], []
    for script, tokenizer_name, share in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "text.txt")
            make_text(path, WORDS[script].split(), int(size * share))
            rows.append(encoding_row(path, script, tokenizer_name))
            if not notes:
                notes.append(training_note(path, tokenizer_name))
    report.write(
        "encode",
        "Encoding a large text",
        ["text", "tokenizer", "file", "seconds", "of which finding the vocabulary",
         "characters a second", "encoding alone", "peak memory of the process"],
        rows,
        "From the file to the finished token store: hashing, finding the vocabulary, encoding and "
        "writing. Goal: 50 M characters a second with the char tokenizer, at most 600 MB. Subword "
        f"pieces ({SUBWORDS:,}) are learned from a sample of at most 20 M characters.",
        "",
        *notes,
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        {"encode": encode, "train": train}[sys.argv[2]](*sys.argv[3:])
    else:
        main()
