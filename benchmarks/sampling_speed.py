"""Sampling at batch 1: chargen's engine against nn.LSTM and against the machine's gemv.

Everything is taken in turn within one process. `step` is the recurrence and the head alone;
`generate` adds the draw, entropy, rank and the copied state of every token.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import numpy as np
import report
import torch

from chargen.model.config import ModelConfig
from chargen.sampling.config import SampleConfig
from chargen.sampling.generator import generate
from chargen.sampling.stepper import Stepper
from chargen.text.char import CharTokenizer

TOKENS, TORCH_TOKENS, ROUNDS = 400, 20, 15
VOCABULARY = "\n" + "".join(map(chr, range(32, 96)))


def contestants(cell: str, layers: int, size: int) -> tuple[list[Callable[[], object]], int]:
    """[torch.nn, step, generate, gemv alone], and the bytes of weights read for one token."""
    config = ModelConfig(vocab_size=65, cell=cell, hidden_size=size, num_layers=layers)
    random = np.random.default_rng(0)
    weights = {
        name: (random.standard_normal(shape) / 30).astype(np.float32)
        for name, shape in config.tensor_shapes().items()
    }
    stepper, tokenizer = Stepper(config, weights), CharTokenizer(VOCABULARY)
    state = stepper.zero_state()
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    network = kind(config.embedding_size, size, layers).eval()
    embedding, head = torch.nn.Embedding(65, config.embedding_size), torch.nn.Linear(size, 65)

    def with_torch() -> None:
        memory = None
        with torch.no_grad():
            for token in range(TORCH_TOKENS):
                hidden, memory = network(embedding(torch.tensor([[token % 65]])), memory)
                head(hidden[0, 0])

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

    return [with_torch, step, write, gemv], sum(one.nbytes for one in matrices)


def main() -> None:
    rows = []
    for cell, layers, size in (
        ("lstm", 2, 512), ("gru", 2, 512), ("rnn", 2, 512), ("lstm", 1, 320), ("lstm", 2, 128),
    ):  # fmt: skip
        functions, size_of_weights = contestants(cell, layers, size)
        taken = report.interleaved(functions, ROUNDS)
        counts = (TORCH_TOKENS, TOKENS, TOKENS, TOKENS)
        stock, step, write, gemv = (
            [one / count for one in times] for times, count in zip(taken, counts, strict=True)
        )
        # Ratios of neighbours in time, then their median: the machine's moods cancel out.
        times_faster = median(a / b for a, b in zip(stock, write, strict=True))
        share_step = median(a / b for a, b in zip(gemv, step, strict=True))
        share_write = median(a / b for a, b in zip(gemv, write, strict=True))
        rows.append(
            [
                f"{cell} {layers}x{size}",
                f"{1 / median(stock):,.0f}",
                f"{1 / median(step):,.0f}",
                f"{1 / median(write):,.0f}",
                f"{times_faster:.0f}x",
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
    main()
