"""Sampling at batch 1: chargen's engine against torch.nn and against the machine's gemv.

`step` is the recurrence and the head alone; `generate` adds the draw, entropy, rank and the copied
state of every token. chargen's figures and gemv are taken in turn; torch, whose idle threads go on
spinning for a while, is measured in a process of its own, right before each.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from statistics import median

import numpy as np
import report

from chargen.inference.engine import Stepper
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate
from chargen.model.config import ModelConfig
from chargen.text.char import CharTokenizer

TOKENS, TORCH_TOKENS, ROUNDS = 400, 60, 25
VOCABULARY = "\n" + "".join(map(chr, range(32, 96)))


def contestants(cell: str, layers: int, size: int) -> tuple[list[Callable[[], object]], int]:
    """[step, generate, gemv alone], and the bytes of weights read for one token."""
    config = ModelConfig(vocab_size=65, cell=cell, hidden_size=size, num_layers=layers)
    random = np.random.default_rng(0)
    weights = {
        name: (random.standard_normal(shape) / 30).astype(np.float32)
        for name, shape in config.tensor_shapes().items()
    }
    stepper, tokenizer = Stepper(config, weights), CharTokenizer(VOCABULARY)
    state = stepper.zero_state()

    def step() -> None:
        for token in range(TOKENS):
            stepper.step(token % 65, state, state)

    def write() -> None:
        for _ in generate(stepper, tokenizer, np.array([3]), SampleConfig(length=TOKENS)):
            pass

    # The same matrices as a step reads, in the same order, and nothing else.
    matrices = [weights["layers.0.weight_hh"]]
    for layer in range(1, layers):
        matrices += [weights[f"layers.{layer}.weight_ih"], weights[f"layers.{layer}.weight_hh"]]
    matrices.append(weights["head.weight"])
    vector = np.ones(size, np.float32)
    outputs = [np.empty(len(one), np.float32) for one in matrices]

    def gemv() -> None:
        for _ in range(TOKENS):
            for matrix, output in zip(matrices, outputs, strict=True):
                np.dot(matrix, vector, output)

    return [step, write, gemv], sum(one.nbytes for one in matrices)


def torch_alone(cell: str, layers: int, size: int) -> float:
    """Seconds a token of the usual way: torch.nn stepping at batch 1, the median of the rounds."""
    import torch

    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    network = kind(64, size, layers).eval()
    embedding, head = torch.nn.Embedding(65, 64), torch.nn.Linear(size, 65)

    def run() -> None:
        memory = None
        with torch.no_grad():
            for token in range(TORCH_TOKENS):
                hidden, memory = network(embedding(torch.tensor([[token % 65]])), memory)
                head(hidden[0, 0])

    return median(report.seconds(run, repeat=1, rounds=ROUNDS)) / TORCH_TOKENS


def main() -> None:
    """Measure, print and write the table."""
    rows = []
    for cell, layers, size in (
        ("lstm", 2, 512), ("gru", 2, 512), ("rnn", 2, 512), ("lstm", 1, 320), ("lstm", 2, 128),
    ):  # fmt: skip
        arguments = [sys.executable, __file__, "--torch", cell, str(layers), str(size)]
        stock = float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
        functions, size_of_weights = contestants(cell, layers, size)
        taken = report.interleaved(functions, ROUNDS)
        step, write, gemv = ([one / TOKENS for one in times] for times in taken)
        # Ratios of neighbours in time, then their median: the machine's moods cancel out.
        share_step = median(a / b for a, b in zip(gemv, step, strict=True))
        share_write = median(a / b for a, b in zip(gemv, write, strict=True))
        rows.append(
            [
                f"{cell} {layers}x{size}",
                f"{1 / stock:,.0f}",
                f"{1 / median(step):,.0f}",
                f"{1 / median(write):,.0f}",
                f"{stock / median(write):.0f}x",
                f"{size_of_weights / median(gemv) / 1e9:.0f}",
                f"{share_step:.0%}",
                f"{share_write:.0%}",
            ]
        )
    report.write(
        "sampling_speed",
        "Sampling at batch 1, tokens a second",
        ["model", "torch.nn stepping", "chargen step", "chargen generate", "generate / torch.nn",
         "gemv alone, GB/s", "step's share of it", "generate's share"],
        rows,
        "Goal at LSTM 2x512: 20 times torch.nn, 80 % of the bandwidth of gemv alone.",
        "",
        f"Medians of {ROUNDS} rounds taken in turn. `gemv alone` multiplies by the same matrices "
        "as a step, in the same order, and does nothing else.",
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--torch"]:
        print(torch_alone(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    else:
        main()
