"""Sampling one text: chargen's engine against torch.nn and the machine's matrix-vector products.

    python benchmarks/sampling_speed.py

`step` is the recurrence and the head alone. `generate` adds the draw, entropy, rank and the copied
state of every token. chargen's figures and the matrix-vector products (gemv) take turns. torch's
idle threads go on spinning for a while, so torch is measured in its own process, before the others.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from statistics import median

import numpy as np
import report
from random_model import random_model, tokenizer

from chargen.inference.engine import Stepper
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate

TOKENS, TORCH_TOKENS, ROUNDS = 400, 60, 25
SHAPES = (
    ("lstm", 2, 512),
    ("gru", 2, 512),
    ("rnn", 2, 512),
    ("lstm", 1, 320),
    ("lstm", 2, 128),
)
"""Cell, layers, units."""


def measured_functions(cell: str, layers: int, size: int) -> tuple[list[Callable[[], object]], int]:
    """[step, generate, gemv alone], and the bytes of weights read for one token."""
    model, characters = random_model(layers, size, cell=cell), tokenizer()
    weights, vocabulary = model.weights, model.config.vocab_size
    stepper = Stepper(model.config, weights)
    state = stepper.zero_state()

    def step() -> None:
        for token in range(TOKENS):
            stepper.step(token % vocabulary, state, state)

    def write() -> None:
        for _ in generate(stepper, characters, np.array([3]), SampleConfig(length=TOKENS)):
            pass

    # The same matrices as a step reads, in the same order, and nothing else.
    matrices = [weights["layers.0.weight_hh"]]
    for layer in range(1, layers):
        matrices += [weights[f"layers.{layer}.weight_ih"], weights[f"layers.{layer}.weight_hh"]]
    matrices.append(weights["head.weight"])
    vector = np.ones(size, np.float32)
    outputs = [np.empty(len(matrix), np.float32) for matrix in matrices]

    def gemv() -> None:
        for _ in range(TOKENS):
            for matrix, output in zip(matrices, outputs, strict=True):
                np.dot(matrix, vector, output)

    return [step, write, gemv], sum(matrix.nbytes for matrix in matrices)


def torch_seconds_per_token(cell: str, layers: int, size: int) -> float:
    """Seconds of a token with torch.nn at batch 1: the median of the rounds."""
    import torch

    module = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    network = module(64, size, layers).eval()
    embedding, head = torch.nn.Embedding(65, 64), torch.nn.Linear(size, 65)

    def step() -> None:
        state = None
        with torch.no_grad():
            for token in range(TORCH_TOKENS):
                hidden, state = network(embedding(torch.tensor([[token % 65]])), state)
                head(hidden[0, 0])

    return median(report.seconds(step, rounds=ROUNDS)) / TORCH_TOKENS


def row_of(cell: str, layers: int, size: int) -> list[str]:
    """A row of the table."""
    arguments = [sys.executable, __file__, "--torch", cell, str(layers), str(size)]
    stock = float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    functions, weight_bytes = measured_functions(cell, layers, size)
    times = report.interleaved(functions, ROUNDS)
    step, write, gemv = ([seconds / TOKENS for seconds in rounds] for rounds in times)
    # Ratios within each round, then their median: what slows a whole round cancels out.
    step_shares = [bare / ours for bare, ours in zip(gemv, step, strict=True)]
    write_shares = [bare / ours for bare, ours in zip(gemv, write, strict=True)]
    return [
        f"{cell} {layers}x{size}",
        f"{1 / stock:,.0f}",
        f"{1 / median(step):,.0f}",
        f"{1 / median(write):,.0f}",
        f"{stock / median(write):.0f}x",
        f"{weight_bytes / median(gemv) / 1e9:.0f}",
        f"{median(step_shares):.0%}",
        f"{median(write_shares):.0%}",
    ]


def main() -> None:
    """Measures, prints and writes the table."""
    report.write(
        "sampling_speed",
        "Sampling at batch 1, tokens a second",
        ["model", "torch.nn stepping", "chargen step", "chargen generate", "generate / torch.nn",
         "gemv alone, GB/s", "step's share of it", "generate's share"],
        [row_of(*shape) for shape in SHAPES],
        "Goal at LSTM 2x512: 20 times torch.nn, 80 % of the bandwidth of gemv alone.",
        "",
        f"Medians of {ROUNDS} rounds; the three functions take turns. `gemv alone` multiplies by "
        "the same matrices as a step, in the same order, and does nothing else.",
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--torch"]:
        print(torch_seconds_per_token(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    else:
        main()
