"""Encoding a large text: characters a second from file to token store, and peak memory.

Makes its own text (about a gigabyte, in a temporary folder), in English-like ASCII and in a mix
of scripts, and encodes it in a process of its own so that the peak is that of encoding alone.
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


def make_text(path: Path, words: list[str], size: int) -> None:
    """Lines of random words, the same few megabytes again and again."""
    random = np.random.default_rng(0)
    block = ""
    while len(block) < 4_000_000:
        line = random.choice(words, 12)
        block += " ".join(line.tolist()) + "\n"
    data = block.encode()
    with path.open("wb") as out:
        for _ in range(size // len(data)):
            out.write(data)


def child(path: str, kind: str) -> None:
    """Encode one file and print characters, seconds and peak memory in bytes."""
    from chargen.text.corpus import open_corpus
    from chargen.text.reading import Reading
    from chargen.text.store import build_tokenizer, encode_corpus

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    corpus = open_corpus([path], reading=Reading(as_bytes=kind == "byte"))
    tokenizer = build_tokenizer(corpus, kind, 1000 if kind == "subword" else None)
    store = encode_corpus(corpus, tokenizer)
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(len(store.tokens), took, peak * 1024, before * 1024)


def main() -> None:
    """Measure, print and write the table."""
    size = int(float(sys.argv[1]) * GIGABYTE) if len(sys.argv) > 1 else GIGABYTE
    rows = []
    for script, kind in (("ASCII", "char"), ("mixed scripts", "char"), ("ASCII", "byte")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "text.txt")
            make_text(path, WORDS[script].split(), size)
            result = subprocess.run(
                [sys.executable, __file__, "--child", str(path), kind],
                env={**os.environ, "CHARGEN_CACHE": folder},
                capture_output=True,
                text=True,
                check=True,
            )
            tokens, took, peak, _ = map(float, result.stdout.split())
            rows.append(
                [
                    script,
                    kind,
                    f"{path.stat().st_size / 1e9:.2f} GB",
                    f"{took:.1f}",
                    f"{tokens / took / 1e6:.0f} M",
                    f"{peak / 1e6:.0f} MB",
                ]
            )
    report.write(
        "encode",
        "Encoding a large text",
        [
            "text",
            "tokenizer",
            "file",
            "seconds",
            "characters a second",
            "peak memory of the process",
        ],
        rows,
        "From the file to the finished token store: hashing, finding the vocabulary, encoding and "
        "writing. Goal: 50 M characters a second with the char tokenizer, at most 600 MB.",
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
