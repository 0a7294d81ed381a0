"""Training steps: chargen's kernels against a plain torch.nn loop and the machine's GEMM peak.

    python benchmarks/train_speed.py

A step is everything: forward pass, loss, backward pass, clipping, AdamW. chargen's step is
`take_step`, the function that training itself calls. The plain loop is nn.Embedding, nn.LSTM (or
GRU, RNN), nn.Linear and fused AdamW in float32; it flushes subnormal numbers to zero as well.

Each compared run has its own process, because chargen changes settings of the C library's memory.
The processes take turns, and so do the large matrix products of the peak, so a moment in which the
machine is busy affects all of them. Shape letters: B batch rows, T tokens per row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median

import report
import torch
from torch.nn import functional

from chargen.model.config import ModelConfig
from chargen.training.config import TrainConfig
from chargen.training.device import prepare_torch
from chargen.training.kernels import Kernel, candidates
from chargen.training.network import NextTokenLoss, RecurrentLM
from chargen.training.optimizer import Optimizer
from chargen.training.step import take_step

VOCABULARY, EMBEDDING, RATE = 65, 64, 1e-3
ROUNDS, ROUNDS_OF_SMALL_STEPS = 5, 40
LARGE_BATCH = 64
"""Batch rows from which a step is long enough for `ROUNDS`."""
GEMM_SIZE, GEMMS_PER_CALL = 2048, 4
STOCK_MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
SHAPES = (
    ("lstm", 2, 512, 64, 128),
    ("gru", 2, 512, 64, 128),
    ("rnn", 2, 512, 64, 128),
    ("lstm", 1, 320, 16, 48),
    ("lstm", 1, 448, 32, 64),
    ("gru", 1, 320, 16, 48),
    ("rnn", 1, 320, 16, 48),
)
"""Cell, layers, units, batch rows, tokens per row."""


def random_tokens(batch: int, length: int) -> torch.Tensor:
    """Random tokens (T + 1, B): the same for every compared run."""
    torch.manual_seed(0)
    return torch.randint(VOCABULARY, (length + 1, batch))


def stock_step(cell: str, layers: int, size: int, batch: int, length: int) -> Callable[[], None]:
    """A training step as it is usually written with torch.nn."""
    torch.set_flush_denormal(True)
    tokens = random_tokens(batch, length)
    recurrent = STOCK_MODULES[cell](EMBEDDING, size, layers)
    embedding, head = torch.nn.Embedding(VOCABULARY, EMBEDDING), torch.nn.Linear(size, VOCABULARY)
    parameters = [*embedding.parameters(), *recurrent.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, fused=True)

    def step() -> None:
        hidden, _ = recurrent(embedding(tokens[:-1]))
        loss = functional.cross_entropy(head(hidden).flatten(0, 1), tokens[1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def chargen_step(
    cell: str, layers: int, size: int, batch: int, length: int, kernel: Kernel
) -> Callable[[], None]:
    """The training step of chargen; the state is carried on, as in a run."""
    settings = TrainConfig(steps=1, optimizer="adamw", device="cpu")
    prepare_torch(settings)
    tokens = random_tokens(batch, length)
    config = ModelConfig(
        vocab_size=VOCABULARY,
        cell=cell,
        hidden_size=size,
        num_layers=layers,
        embedding_size=EMBEDDING,
    )
    network = RecurrentLM(config, kernel=kernel)
    loss, optimizer = NextTokenLoss(network), Optimizer(network, settings)
    state = network.zero_state(batch)

    def step() -> None:
        nonlocal state
        _, _, state = take_step(loss, optimizer, tokens[:-1], tokens[1:], state, RATE)

    return step


def large_products(dtype: torch.dtype) -> Callable[[], None]:
    """Large matrix products: the most FLOP that the machine can do in a second."""
    left = torch.randn(GEMM_SIZE, GEMM_SIZE).to(dtype)
    right = torch.randn(GEMM_SIZE, GEMM_SIZE).to(dtype)
    out = torch.empty(GEMM_SIZE, GEMM_SIZE, dtype=dtype)

    def multiply() -> None:
        for _ in range(GEMMS_PER_CALL):
            torch.mm(left, right, out=out)

    return multiply


def rows_of(cell: str, layers: int, size: int, batch: int, length: int) -> list[list[str]]:
    """Rows of the table for a shape: one for each kernel."""
    kernels = candidates(cell, "cpu", "auto", "auto")
    shape = cell, layers, size, batch, length
    runs: list[report.ComparedRun] = [
        partial(large_products, torch.float32),
        partial(large_products, torch.bfloat16),
        partial(stock_step, *shape),
    ]
    runs += [partial(chargen_step, *shape, kernel) for kernel in kernels]
    rounds = ROUNDS if batch >= LARGE_BATCH else ROUNDS_OF_SMALL_STEPS
    fp32_peak, bf16_peak, stock, *ours = report.between_processes(runs, rounds)
    tokens = batch * length
    flop = report.training_flop(
        cell, layers, size, embedding=EMBEDDING, vocabulary=VOCABULARY, tokens=tokens
    )
    peak_flop = 2 * GEMM_SIZE**3 * GEMMS_PER_CALL
    rows = []
    for kernel, times in zip(kernels, ours, strict=True):
        peak = bf16_peak if kernel.bf16 else fp32_peak
        # Ratios within each round, then their median: what slows a whole round cancels out.
        factors = [theirs / our for theirs, our in zip(stock, times, strict=True)]
        shares = [(flop / our) / (peak_flop / most) for our, most in zip(times, peak, strict=True)]
        rows.append(
            [
                f"{cell} {layers}x{size}, B {batch}, T {length}",
                kernel.label,
                f"{tokens / median(stock):,.0f}",
                f"{tokens / median(times):,.0f}",
                f"{median(factors):.2f}x",
                f"{flop / median(times) / 1e9:.0f}",
                f"{peak_flop / median(peak) / 1e9:.0f}",
                f"{median(shares):.2f}",
            ]
        )
    return rows


def main() -> None:
    """Measures, prints and writes the table."""
    report.write(
        "train_speed",
        "Training, tokens a second",
        ["model", "kernel", "stock torch.nn fp32", "chargen", "factor", "GFLOP/s",
         "large GEMM of that precision", "share of it"],
        [row for shape in SHAPES for row in rows_of(*shape)],
        "Goals at 2x512, B 64, T 128: LSTM 1.6x, GRU 2.5x, RNN 3x; share 0.75.",
        "",
        "`native` is the C kernel, `torch` the autograd functions in plain torch, `stock` torch's "
        "own recurrences in chargen's training step. FLOP are counted as 6 a weight and token for "
        "every kernel. That includes the product with the embedding, which `native` and `torch` "
        "compute once for each entry of the vocabulary instead of once for each token.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
