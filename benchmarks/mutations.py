"""Ten thousand damaged files: each is refused in one line, or is the model that it was.

    python benchmarks/mutations.py --count 10000

A small model of every cell and tokenizer, and the state of a run, are changed at random: bytes
flipped, pieces cut, moved, doubled and filled, headers rewritten. Loading must end in a
ChargenError or give the very tensors that were saved; never a traceback, never more than a second.
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

_JSON = ["null", "-1", "1e999", "[]", "{}", '""', "NaN", "9" * 400, "[" * 5000, "true", "0.5"]


def damaged(data: bytes) -> bytes:
    """The bytes, changed in one of the ways in which files go wrong or are made to."""
    kind, raw = random.randrange(8), bytearray(data)
    place, other = sorted(random.randrange(len(raw)) for _ in range(2))
    header = struct.unpack("<Q", data[:8])[0]
    if kind == 0:
        for _ in range(random.randint(1, 8)):
            raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
    elif kind == 1:
        raw = raw[:place]
    elif kind == 2:
        del raw[place:other]
    elif kind == 3:
        raw[place:place] = raw[place:other]
    elif kind == 4:
        raw[place:other] = bytes([random.randrange(256)]) * (other - place)
    elif kind == 5:
        raw[:8] = struct.pack("<Q", random.choice([0, 1, header - 1, header * 2, 1 << 62]))
    elif kind == 6:
        at = 8 + random.randrange(header)
        raw[at] = random.choice(b'"{}[]:,0123456789\\ ')
    else:  # a value of the header becomes another one, the header as long as it says
        text = bytes(raw[8 : 8 + header])
        spots = [n for n, one in enumerate(text) if one == ord(":")]
        at = random.choice(spots) + 1
        text = text[:at] + random.choice(_JSON).encode() + text[at + random.randint(0, 9) :]
        raw = bytearray(struct.pack("<Q", len(text)) + text + raw[8 + header :])
    return bytes(raw)


def originals(folder: Path) -> list[Path]:
    """Files of all kinds, small and real."""
    text = folder / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. Äöü €\n" * 60, encoding="utf-8")
    found = []
    for number, (cell, tokenizer) in enumerate(
        [("lstm", "char"), ("gru", "byte"), ("rnn", "subword"), ("rnn-relu", "char")]
    ):
        run = folder / str(number)
        vocab = {"vocab_size": 330} if tokenizer == "subword" else {}
        for _ in chargen.train(
            text,
            out=run,
            cell=cell,
            tokenizer=tokenizer,
            steps=2,
            hidden_size=8,
            threads=1,
            **vocab,
        ):
            pass
        found += [run / "model.safetensors", run / "training.safetensors"]
    return found


def load(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file of either kind."""
    if path.name.startswith("model"):
        return load_model(path).weights
    return load_snapshot(path).tensors


def attempt(path: Path) -> tuple[dict[str, np.ndarray] | None, str]:
    """The tensors, or None and the line that says why not."""
    try:
        return load(path), ""
    except ChargenError as error:
        return None, str(error)


@click.command()
@click.option("--count", default=10_000)
@click.option("--seed", default=0)
@click.option("--table/--no-table", default=True, help="Write it to results/mutations.md.")
def main(count: int, seed: int, table: bool) -> None:
    """Damage, load, and write the table; a failure is a traceback."""
    random.seed(seed)
    refused = same = 0
    slowest = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [(path, path.read_bytes(), load(path)) for path in originals(folder)]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(count):
            path, data, tensors = random.choice(files)
            target = folder / path.name
            target.write_bytes(damaged(data))
            began = time.perf_counter()
            found, complaint = attempt(target)
            if found is None:
                refused += 1
                assert complaint.startswith(f"{target}: "), complaint
                assert "\n" not in complaint, complaint
            else:
                same += 1
                assert found.keys() == tensors.keys()
                assert all(np.array_equal(found[key], tensors[key]) for key in tensors)
            slowest = max(slowest, time.perf_counter() - began)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert slowest < 1, f"{slowest:.2f} s for a file"
    assert grown < 200, f"{grown:.0f} MB"
    print(f"{refused:,} refused, {same:,} unchanged in what matters")
    if table:
        report.write(
            "mutations",
            "Damaged files",
            ["files", "refused in one line", "loaded with the tensors that were saved",
             "tracebacks", "slowest, seconds", "memory grown by, MB"],
            [[f"{count:,}", f"{refused:,}", f"{same:,}", "0", f"{slowest:.3f}", f"{grown:.0f}"]],
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
