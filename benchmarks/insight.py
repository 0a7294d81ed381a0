"""The story that the displays tell, measured; and how long each display of 100 KB takes.

    python benchmarks/insight.py CORPUS [--minutes 2] [--seeds 1]

First `chargen compare` on CORPUS (two minutes a cell), whose table is kept with the gradients'
half-lives and the memory horizons; then every display, as a command, on 100,000 characters of
CORPUS with the compared LSTM and with an LSTM 2x512 (random weights), from start to end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import report

from chargen.model.checkpoint import ModelFile, load_model, save_model
from chargen.model.config import ModelConfig

_CHARGEN = shutil.which("chargen", path=str(Path(sys.executable).parent)) or "chargen"
_DISPLAYS = {
    "gradients": ("gradients", "MODEL", "--corpus", "text.txt"),
    "horizon": ("horizon", "MODEL", "text.txt"),
    "saturation": ("saturation", "MODEL", "text.txt"),
    "units": ("units", "MODEL", "text.txt"),
    "units --ablate": ("units", "MODEL", "text.txt", "--ablate"),
    "why": ("why", "MODEL", "text.txt"),
    "surprise": ("surprise", "MODEL", "text.txt"),
    "step": ("step", "MODEL", "-p", "To be, or not to be", "--at", "5"),
}


def run(*arguments: str) -> tuple[str, float]:
    """A command's stdout, and its seconds."""
    began = time.perf_counter()
    done = subprocess.run([_CHARGEN, *arguments], capture_output=True, text=True, check=True)
    return done.stdout, time.perf_counter() - began


def wide(model: ModelFile) -> ModelFile:
    """An LSTM 2x512 of random weights for the same characters."""
    config = ModelConfig(
        vocab_size=model.config.vocab_size, hidden_size=512, num_layers=2, embedding_size=64
    )
    random = np.random.default_rng(0)
    weights = {
        name: random.normal(0, 0.04, shape).astype(np.float32)
        for name, shape in config.tensor_shapes().items()
    }
    return ModelFile(config=config, tokenizer=model.tokenizer, weights=weights)


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="Keep the runs there.")
    options = parser.parse_args()
    corpus = options.corpus.resolve()
    os.chdir(options.folder or tempfile.mkdtemp())
    out, _ = run("compare", str(corpus), "--run", "story", "--minutes", f"{options.minutes:g}",
                 "--seeds", str(options.seeds), "--json")  # fmt: skip
    *runs, last = map(json.loads, out.splitlines())
    rows = [
        (
            one["cell"],
            str(one["seed"]),
            f"{one['bits_per_byte']:.3f}",
            f"{one['tokens_per_second']:,.0f}",
            f"{one['parameters']:,}",
            f"{one['characters_per_second']:,.0f}",
            f"{one['horizon'] or float('inf'):.0f}",
            f"{one['half_life'] or float('inf'):.1f}",
            one["gradient"],
        )
        for one in runs
    ]
    name = "story-lstm" if options.seeds == 1 else "story-lstm-0"
    model = load_model(Path("checkpoints") / name / "model.safetensors")
    save_model(Path("wide.safetensors"), wide(model))
    Path("text.txt").write_text(corpus.read_text(encoding="utf-8")[-100_000:], encoding="utf-8")
    times = [
        (what, *(f"{run(*(place if part == 'MODEL' else part for part in command))[1]:.1f}"
                 for place in (name, "wide.safetensors")))
        for what, command in _DISPLAYS.items()
    ]  # fmt: skip
    headers = (
        "cell", "seed", "bits a byte", "tokens/s, learning", "weights", "characters/s, writing",
        "memory horizon", "gradient's half-life", "it is",
    )  # fmt: skip
    report.write(
        "story",
        f"What the displays show of {corpus.name}, {options.minutes:g} minutes each",
        headers, rows, last["verdict"] + ".",
        "The horizon is in characters; the half-life in steps back, by the best line through the "
        "first hundred of the gradient.",
    )  # fmt: skip
    report.write(
        "insight",
        "Seconds that a display of 100,000 characters takes, from command to end (limit 20)",
        ("display", f"LSTM {model.config.num_layers}x{model.config.hidden_size}", "LSTM 2x512"),
        times,
    )


if __name__ == "__main__":
    main()
