"""What compressors learn from a text: nats a character of its last tenth after the rest.

    python benchmarks/compressors.py TEXT [--run RUN]

A compressor learns while it reads. What the last tenth costs it is the size of the whole file less
the size of the first nine tenths. PPMd is that of 7-Zip (`pip install pyppmd`), xz is Python's
lzma. With --run, a model that was trained on the first nine tenths is scored on the same tenth:
static, and with counts that grow while it reads.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import report

_ORDERS = (4, 6, 8, 16)
_MEMORY_BYTES = 256 << 20


def nats(compress: Callable[[bytes], bytes], text: bytes, cut: int) -> tuple[float, float]:
    """Nats a byte of the text from `cut` on, and seconds for the whole text."""
    began = time.perf_counter()
    whole = len(compress(text))
    seconds = time.perf_counter() - began
    bits = 8 * (whole - len(compress(text[:cut])))
    return bits * math.log(2) / (len(text) - cut), seconds


def compressors() -> dict[str, Callable[[bytes], bytes]]:
    """The compressors by name; PPMd where it is installed."""
    found: dict[str, Callable[[bytes], bytes]] = {
        "xz -9e": lambda text: lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
    }
    try:
        import pyppmd
    except ImportError:
        return found

    def ppmd(order: int) -> Callable[[bytes], bytes]:
        return lambda text: pyppmd.compress(
            text, max_order=order, mem_size=_MEMORY_BYTES, variant="H"
        )

    return found | {f"PPMd, order {order}": ppmd(order) for order in _ORDERS}


def main() -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    text = options.text.read_bytes()
    cut = int(0.9 * len(text))
    rows = []
    for name, compress in compressors().items():
        value, seconds = nats(compress, text, cut)
        rows.append([name, f"{value:.4f}", "learns while it reads", f"{seconds:.1f}"])
    if options.run is not None:
        with tempfile.TemporaryDirectory() as temporary:
            tail = Path(temporary) / "tail.txt"
            tail.write_bytes(text[cut:])
            for words, more in (("static", []), ("learns while it reads", ["--dynamic", "counts"])):
                began = time.perf_counter()
                done = subprocess.run(
                    [report.CHARGEN, "eval", options.run, tail, "--json", *more],
                    check=True, capture_output=True, text=True,
                )  # fmt: skip
                value = json.loads(done.stdout)["nats_per_token"]
                seconds = time.perf_counter() - began
                rows.append([f"chargen, {options.run.name}", f"{value:.4f}", words,
                             f"{seconds:.1f}"])  # fmt: skip
    report.write(
        "compressors",
        f"The last tenth of {options.text.name} after its first nine tenths",
        ["what", "nats a byte", "how", "seconds"],
        rows,
        "Seconds are those of the whole text for compressors, and of scoring the tenth for models.",
    )


if __name__ == "__main__":
    main()
