"""What the displays show of a text, and how long each display of 100,000 characters takes.

    python benchmarks/insight.py CORPUS [--minutes 2] [--seeds 1] [--folder FOLDER]

First `chargen compare` trains every cell on CORPUS. Its table (results/story.md) is kept together
with the half-lives of the gradients and the memory horizons. Then every display runs as a command
on the last 100,000 characters of CORPUS, once with the LSTM of the comparison and once with an LSTM
2x512 of random weights (results/insight.md). Seconds are those from the command's start to its end.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import report
from random_model import random_model

from chargen.model.checkpoint import load_model, save_model

TEXT_CHARACTERS = 100_000
MODEL = "MODEL"
"""Stands for the model in the commands below."""
DISPLAYS = {
    "gradients": ("gradients", MODEL, "--corpus", "text.txt"),
    "horizon": ("horizon", MODEL, "text.txt"),
    "saturation": ("saturation", MODEL, "text.txt"),
    "units": ("units", MODEL, "text.txt"),
    "units --ablate": ("units", MODEL, "text.txt", "--ablate"),
    "why": ("why", MODEL, "text.txt"),
    "surprise": ("surprise", MODEL, "text.txt"),
    "step": ("step", MODEL, "-p", "To be, or not to be", "--at", "5"),
}


def run(*arguments: str) -> tuple[str, float]:
    """Runs a chargen command: its standard output, and its seconds."""
    began = time.perf_counter()
    done = subprocess.run([report.CHARGEN, *arguments], capture_output=True, text=True, check=True)
    return done.stdout, time.perf_counter() - began


def story_row(run_record: dict[str, Any]) -> list[str]:
    """A row of the table of compared runs."""
    return [
        run_record["cell"],
        str(run_record["seed"]),
        f"{run_record['bits_per_byte']:.3f}",
        f"{run_record['tokens_per_second']:,.0f}",
        f"{run_record['parameters']:,}",
        f"{run_record['characters_per_second']:,.0f}",
        f"{run_record['horizon'] or math.inf:.0f}",
        f"{run_record['half_life'] or math.inf:.1f}",
        run_record["gradient"],
    ]


def display_rows(models: list[str]) -> list[list[str]]:
    """A row for each display: its seconds with each model."""
    rows = []
    for name, command in DISPLAYS.items():
        row = [name]
        for model in models:
            arguments = (model if part == MODEL else part for part in command)
            row.append(f"{run(*arguments)[1]:.1f}")
        rows.append(row)
    return rows


def main() -> None:
    """Measures, and writes both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--minutes", type=float, default=2.0, help="of each run (default: 2)")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each cell (default: 1)")
    parser.add_argument("--folder", type=Path, help="keeps the runs there")
    options = parser.parse_args()
    corpus = options.corpus.resolve()
    os.chdir(options.folder or tempfile.mkdtemp())
    output, _ = run("compare", str(corpus), "--run", "story", "--minutes", f"{options.minutes:g}",
                    "--seeds", str(options.seeds), "--json")  # fmt: skip
    *runs, comparison = map(json.loads, output.splitlines())
    name = "story-lstm" if options.seeds == 1 else "story-lstm-0"
    model = load_model(Path("checkpoints") / name / "model.safetensors")
    config = model.config
    wide = random_model(2, 512, tokenizer_state=model.tokenizer, vocabulary=config.vocab_size)
    save_model(Path("wide.safetensors"), wide)
    text = corpus.read_text(encoding="utf-8")[-TEXT_CHARACTERS:]
    Path("text.txt").write_text(text, encoding="utf-8")
    seconds = display_rows([name, "wide.safetensors"])
    report.write(
        "story",
        f"What the displays show of {corpus.name}, {options.minutes:g} minutes each",
        ["cell", "seed", "bits a byte", "tokens/s, learning", "weights", "characters/s, writing",
         "memory horizon", "gradient's half-life", "it is"],
        [story_row(run_record) for run_record in runs],
        comparison["verdict"] + ".",
        "The horizon is in characters. The half-life is in steps back, by the straight line that "
        "fits the first hundred steps of the gradient best.",
    )  # fmt: skip
    report.write(
        "insight",
        "Seconds that a display of 100,000 characters takes, from command to end (limit 20)",
        ["display", f"LSTM {config.num_layers}x{config.hidden_size}", "LSTM 2x512"],
        seconds,
    )


if __name__ == "__main__":
    main()
