"""Training steps: chargen's kernels against a stock torch.nn loop and the machine's GEMM peak.

A step is everything: forward, loss, backward, clipping, AdamW. The stock loop is nn.Embedding,
nn.LSTM (or GRU, RNN), nn.Linear and fused AdamW in float32, with subnormals flushed as well.
Each contestant has a process of its own, chargen's with what it tells the C library about memory;
they take turns, the large products of the peak too, so that the machine's moods hit all.
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
from chargen.training.network import NextTokenLoss, RecurrentLM, detach
from chargen.training.optimizer import Optimizer

VOCAB, EMBEDDING, ROUNDS = 65, 64, 5
SIDE, TIMES = 2048, 4
STOCK = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
SHAPES = (
    ("lstm", 2, 512, 64, 128),
    ("gru", 2, 512, 64, 128),
    ("rnn", 2, 512, 64, 128),
    ("lstm", 1, 320, 16, 48),
    ("lstm", 1, 448, 32, 64),
    ("gru", 1, 320, 16, 48),
    ("rnn", 1, 320, 16, 48),
)


def tokens_of(batch: int, steps: int) -> torch.Tensor:
    """Chance, the same for all."""
    torch.manual_seed(0)
    return torch.randint(VOCAB, (steps + 1, batch))


def stock_step(cell: str, layers: int, size: int, batch: int, steps: int) -> Callable[[], None]:
    """One training step as everybody would write it."""
    torch.set_flush_denormal(True)
    tokens = tokens_of(batch, steps)
    recurrent = STOCK[cell](EMBEDDING, size, layers)
    embedding, head = torch.nn.Embedding(VOCAB, EMBEDDING), torch.nn.Linear(size, VOCAB)
    parameters = [*embedding.parameters(), *recurrent.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def step() -> None:
        hidden, _ = recurrent(embedding(tokens[:-1]))
        loss = functional.cross_entropy(head(hidden).flatten(0, 1), tokens[1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def our_step(
    cell: str, layers: int, size: int, batch: int, steps: int, kernel: Kernel
) -> Callable[[], None]:
    """The same step with chargen's network, kernel and optimizer."""
    settings = TrainConfig(steps=1, optimizer="adamw", device="cpu")
    prepare_torch(settings)
    tokens = tokens_of(batch, steps)
    config = ModelConfig(
        vocab_size=VOCAB, cell=cell, hidden_size=size, num_layers=layers, embedding_size=EMBEDDING
    )
    network = RecurrentLM(config, kernel=kernel)
    optimizer = Optimizer(network, settings)
    learn = NextTokenLoss(network)
    state = network.zero_state(batch)

    def step() -> None:
        nonlocal state
        loss, after = learn(tokens[:-1], tokens[1:], state)
        loss.backward()
        optimizer.clip()
        optimizer.step(1e-3)
        state = detach(after)

    return step


def large_products(kind: torch.dtype) -> Callable[[], None]:
    """What the machine can do at most."""
    left, right = torch.randn(SIDE, SIDE).to(kind), torch.randn(SIDE, SIDE).to(kind)
    out = torch.empty(SIDE, SIDE, dtype=kind)

    def step() -> None:
        for _ in range(TIMES):
            torch.mm(left, right, out=out)

    return step


def main() -> None:
    """Measure, print and write the table."""
    rows = []
    for cell, layers, size, batch, steps in SHAPES:
        shape = cell, layers, size, batch, steps
        kernels = candidates(cell, "cpu", "auto", "auto")
        contestants = [partial(large_products, one) for one in (torch.float32, torch.bfloat16)]
        contestants.append(partial(stock_step, *shape))
        contestants += [partial(our_step, *shape, kernel) for kernel in kernels]
        found = report.between_processes(contestants, ROUNDS if batch > 32 else 40)
        peaks, stock, ours = found[:2], found[2], found[3:]
        # FLOP of a step: 2 forward and 4 backward for every weight of a product and token.
        gates = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
        weights = gates * size * (EMBEDDING + size + (layers - 1) * 2 * size) + VOCAB * size
        flop = 6 * weights * batch * steps
        most = 2 * SIDE**3 * TIMES  # FLOP
        for kernel, taken in zip(kernels, ours, strict=True):
            peak = peaks[kernel.bf16]
            rows.append(
                [
                    f"{cell} {layers}x{size}, B {batch}, T {steps}",
                    kernel.label,
                    f"{batch * steps / median(stock):,.0f}",
                    f"{batch * steps / median(taken):,.0f}",
                    f"{median(a / b for a, b in zip(stock, taken, strict=True)):.2f}x",
                    f"{flop / median(taken) / 1e9:.0f}",
                    f"{most / median(peak) / 1e9:.0f}",
                    f"{median(flop / a * b / most for a, b in zip(taken, peak, strict=True)):.2f}",
                ]
            )
    report.write(
        "train_speed",
        "Training, tokens a second",
        ["model", "kernel", "stock torch.nn fp32", "chargen", "factor", "GFLOP/s",
         "large GEMM of that precision", "share of it"],
        rows,
        "Goals at 2x512, B 64, T 128: LSTM 1.6x, GRU 2.5x, RNN 3x; share 0.75.",
        "",
        "`native` is the C kernel, `torch` the autograd functions in plain torch, `stock` torch's "
        "own inside chargen's loop. FLOP are counted as 6 a weight and token for everybody, "
        "the embedding's product included, which `native` and `torch` do once a vocabulary entry "
        "instead of once a token.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
