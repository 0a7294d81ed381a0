"""Ten thousand damaged files: each is refused in one line, or loads with the tensors it had.

    python benchmarks/mutations.py --count 10000

Trains a small model of every cell and tokenizer, and damages its files at random: bytes are flipped
or overwritten, pieces are cut out or doubled, headers are rewritten. Loading must end in a
ChargenError or give exactly the tensors that were saved. A traceback, or more than a second for one
file, is a failure.
"""

from __future__ import annotations

import random
import resource
import struct
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import report

import chargen
from chargen.errors import ChargenError
from chargen.model.checkpoint import load_model
from chargen.training.snapshot import load_snapshot

JSON_VALUES = [
    "null", "-1", "1e999", "[]", "{}", '""', "NaN", "9" * 400, "[" * 5000, "true", "0.5",
]  # fmt: skip
"""Values that a header is given in place of its own."""
LENGTH_BYTES = 8
"""Bytes before a safetensors header that say how long it is."""
MAX_SECONDS, MAX_MEGABYTES = 1, 200
"""Limits for loading one file, and for the growth of memory over all files."""


def damaged(data: bytes) -> bytes:
    """The bytes of a file, damaged in a random way."""
    kind, raw = random.randrange(8), bytearray(data)
    start, end = sorted(random.randrange(len(raw)) for _ in range(2))
    header = struct.unpack("<Q", data[:LENGTH_BYTES])[0]
    if kind == 0:
        for _ in range(random.randint(1, 8)):
            raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
    elif kind == 1:
        raw = raw[:start]
    elif kind == 2:
        del raw[start:end]
    elif kind == 3:
        raw[start:start] = raw[start:end]
    elif kind == 4:
        raw[start:end] = bytes([random.randrange(256)]) * (end - start)
    elif kind == 5:
        length = random.choice([0, 1, header - 1, header * 2, 1 << 62])
        raw[:LENGTH_BYTES] = struct.pack("<Q", length)
    elif kind == 6:
        raw[LENGTH_BYTES + random.randrange(header)] = random.choice(b'"{}[]:,0123456789\\ ')
    else:
        raw = bytearray(_with_other_value(data, header))
    return bytes(raw)


def _with_other_value(data: bytes, header: int) -> bytes:
    """The file with one value of its header replaced; the length of the header is right."""
    text = data[LENGTH_BYTES : LENGTH_BYTES + header]
    colons = [number for number, byte in enumerate(text) if byte == ord(":")]
    value = random.choice(colons) + 1
    text = text[:value] + random.choice(JSON_VALUES).encode() + text[value + random.randint(0, 9) :]
    return struct.pack("<Q", len(text)) + text + data[LENGTH_BYTES + header :]


def originals(folder: Path) -> list[Path]:
    """Undamaged files: the model and the saved state of a small run of each kind."""
    text = folder / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. Äöü €\n" * 60, encoding="utf-8")
    paths = []
    for number, (cell, tokenizer) in enumerate(
        [("lstm", "char"), ("gru", "byte"), ("rnn", "subword"), ("rnn-relu", "char")]
    ):
        run = folder / str(number)
        vocabulary = {"vocab_size": 330} if tokenizer == "subword" else {}
        for _ in chargen.train(
            text,
            out=run,
            cell=cell,
            tokenizer=tokenizer,
            steps=2,
            hidden_size=8,
            threads=1,
            **vocabulary,
        ):
            pass
        paths += [run / "model.safetensors", run / "training.safetensors"]
    return paths


def load(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a model file or of a saved state."""
    if path.name.startswith("model"):
        return load_model(path).weights
    return load_snapshot(path).tensors


def try_to_load(path: Path) -> tuple[dict[str, np.ndarray] | None, str]:
    """The tensors; or None, and the error message."""
    try:
        return load(path), ""
    except ChargenError as error:
        return None, str(error)


@click.command()
@click.option("--count", default=10_000)
@click.option("--seed", default=0)
@click.option("--table/--no-table", default=True, help="Write it to results/mutations.md.")
def main(count: int, seed: int, table: bool) -> None:
    """Damages and loads files, and writes the table; a failure is a traceback."""
    random.seed(seed)
    refused = unchanged = 0
    slowest = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [(path, path.read_bytes(), load(path)) for path in originals(folder)]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(count):
            path, data, saved = random.choice(files)
            target = folder / path.name
            target.write_bytes(damaged(data))
            began = time.perf_counter()
            loaded, message = try_to_load(target)
            slowest = max(slowest, time.perf_counter() - began)
            if loaded is None:
                refused += 1
                assert message.startswith(f"{target}: "), message
                assert "\n" not in message, message
            else:
                unchanged += 1
                assert loaded.keys() == saved.keys()
                assert all(np.array_equal(loaded[key], saved[key]) for key in saved)
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert slowest < MAX_SECONDS, f"{slowest:.2f} s for a file"
    assert growth < MAX_MEGABYTES, f"{growth:.0f} MB"
    print(f"{refused:,} refused, {unchanged:,} loaded with the tensors that were saved")
    if table:
        report.write(
            "mutations",
            "Damaged files",
            ["files", "refused in one line", "loaded with the tensors that were saved",
             "tracebacks", "slowest, seconds", "memory grown by, MB"],
            [[f"{count:,}", f"{refused:,}", f"{unchanged:,}", "0", f"{slowest:.3f}",
              f"{growth:.0f}"]],
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
