"""Training on a GPU: chargen's steps against a plain cuDNN loop, and what it learns.

    python benchmarks/gpu.py [TEXT ...] [--seconds S] [--device cuda]

Needs torch, numpy and safetensors, and chargen's sources beside it; nothing has to be installed.
The plain loop is nn.Embedding, nn.LSTM (or GRU, RNN), nn.Linear and fused AdamW, under bfloat16
autocast or in float32, with the loss asked for at every step, as a loop that logs it does.
A TEXT is trained on for so many seconds with default settings; its last tenth is scored.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("CHARGEN_CACHE", tempfile.mkdtemp())

import numpy as np
import report
import torch
from torch.nn import functional

from chargen.api import load
from chargen.errors import ChargenError
from chargen.model.config import ModelConfig
from chargen.text.dataset import TextOptions, open_dataset, options_to_json
from chargen.training.config import TrainConfig
from chargen.training.cuda_graphs import Strides
from chargen.training.device import prepare_torch
from chargen.training.evaluate import evaluate
from chargen.training.events import Finished, Planned, StepDone
from chargen.training.kernels import Kernel, candidates
from chargen.training.network import RecurrentLM
from chargen.training.session import train_run
from chargen.training.trainer import Trainer

VOCAB, EMBEDDING, BATCH, BPTT = 65, 64, 64, 128
SHAPES = ((1, 256), (2, 512), (2, 1024), (3, 2048))
STOCK = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}


def gemm_peak(device: str, kind: torch.dtype) -> float:
    """FLOP a second of a large product."""
    size = 8192 if device == "cuda" else 512
    a = torch.randn(size, size, device=device).to(kind)
    times = []
    for _ in range(12):
        began = _now(device)
        a @ a
        times.append(_now(device) - began)
    return 2 * size**3 / median(times[2:])


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def stock_steps(
    cell: str, layers: int, size: int, device: str, bf16: bool
) -> Callable[[int], None]:
    """So many steps as everybody would write them."""
    recurrent = STOCK[cell](EMBEDDING, size, layers).to(device)
    embedding = torch.nn.Embedding(VOCAB, EMBEDDING).to(device)
    head = torch.nn.Linear(size, VOCAB).to(device)
    parameters = [*embedding.parameters(), *recurrent.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    tokens = torch.randint(VOCAB, (BPTT + 1, BATCH))

    def run(count: int) -> None:
        for _ in range(count):
            there = tokens.to(device)
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                hidden, _ = recurrent(embedding(there[:-1]))
                logits = head(hidden).flatten(0, 1)
                loss = functional.cross_entropy(logits, there[1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()

    return run


def our_steps(
    cell: str, layers: int, size: int, device: str, kernel: Kernel, optimizer: str
) -> Callable[[int], None]:
    """So many of chargen's, in strides; graphs on a GPU."""
    config = ModelConfig(
        vocab_size=VOCAB, cell=cell, hidden_size=size, num_layers=layers, embedding_size=EMBEDDING
    )
    settings = TrainConfig(
        steps=10**6, batch_size=BATCH, bptt=BPTT, optimizer=optimizer, device=device,
        precision="bf16" if kernel.bf16 else "fp32",
    )  # fmt: skip
    there = prepare_torch(settings)
    network = RecurrentLM(config, kernel=kernel).to(there)
    text = np.random.default_rng(0).integers(VOCAB, size=1 << 20).astype(np.uint8)
    lengths = np.ones((2, VOCAB), np.int64)
    trainer = Trainer(network, settings, text, text[:0], lengths)
    strides = Strides(trainer, capture=device == "cuda")

    def run(count: int) -> None:
        strides.take([1e-4] * count)

    return run


def speed(
    device: str, count: int, rounds: int, shapes: tuple[tuple[int, int], ...]
) -> list[list[str]]:
    """Rows of the table."""
    rows = []
    for bf16 in (True, False):
        peak = gemm_peak(device, torch.bfloat16 if bf16 else torch.float32)
        for cell in STOCK:
            kernels = candidates(cell, device, "auto", "bf16" if bf16 else "fp32")
            for layers, size in shapes if kernels else ():
                torch.set_float32_matmul_precision("highest")
                contestants = [
                    stock_steps(cell, layers, size, device, bf16),
                    our_steps(cell, layers, size, device, kernels[0], "adamw"),
                    our_steps(cell, layers, size, device, kernels[0], "muon"),
                ]
                taken: list[list[float]] = [[] for _ in contestants]
                for one in contestants:
                    one(count)  # captures, and chooses algorithms
                for _ in range(rounds):
                    for number, one in enumerate(contestants):
                        began = _now(device)
                        one(count)
                        taken[number].append((_now(device) - began) / count)
                stock, ours, muon = taken
                gates = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
                weights = gates * size * (EMBEDDING + size + (layers - 1) * 2 * size) + VOCAB * size
                flop = 6 * weights * BATCH * BPTT
                rows.append(
                    [
                        f"{cell} {layers}x{size}",
                        kernels[0].label,
                        f"{BATCH * BPTT / median(stock):,.0f}",
                        f"{BATCH * BPTT / median(ours):,.0f}",
                        f"{median(a / b for a, b in zip(stock, ours, strict=True)):.2f}x",
                        f"{median(a / b for a, b in zip(stock, muon, strict=True)):.2f}x",
                        f"{flop / median(ours) / peak:.3f}",
                    ]
                )
                print(" | ".join(rows[-1]), flush=True)
    return rows


def quality(path: Path, seconds: float, device: str) -> str:
    """A line: what a text's last tenth costs after so many seconds on the rest."""
    text = path.read_text(encoding="utf-8")
    cut = int(len(text) * 0.9)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text.txt").write_text(text[:cut], encoding="utf-8")
        began, plan, tokens = time.perf_counter(), None, 0
        options = TextOptions(corpus=(str(folder / "text.txt"),))
        dataset = open_dataset(options)
        for event in train_run(
            folder / "run",
            tokenizer=dataset.tokenizer,
            train=dataset.train,
            valid=dataset.valid,
            card=dataset.card,
            text=options_to_json(options),
            given={"minutes": seconds / 60, "device": device},
            should_stop=lambda: False,
        ):
            if isinstance(event, Planned):
                plan = event
            elif isinstance(event, StepDone):
                tokens = event.tokens
            elif isinstance(event, Finished):
                took = time.perf_counter() - began
        assert plan is not None
        model = load(folder / "run")
        network = RecurrentLM(model.config).to(device)
        network.load_weights(model.file.weights)
        ids = model.tokenizer.encode(text[cut:])
        score = evaluate(network, ids, np.ones((2, model.config.vocab_size), np.int64))
    return (
        f"{path.name}, {seconds:.0f} s asked for, {took:.1f} s taken: {score.nats_per_token:.4f} "
        f"nats a token; {plan.model.cell_row.label}, {plan.model.units_label}, batch "
        f"{plan.train.batch_size} x {plan.train.bptt}, {tokens / 1e6:.1f} M tokens read"
    )


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, action="append")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=32, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", default=json.dumps(SHAPES))
    options = parser.parse_args()
    device = options.device
    try:
        prepare_torch(TrainConfig(steps=1, device=device))
    except ChargenError as error:
        sys.exit(f"{error}")
    notes = []
    for path in options.texts:
        for seconds in options.seconds or [60.0]:
            notes += [quality(path, seconds, device), ""]
            print(notes[-2], flush=True)
    shapes = tuple((layers, size) for layers, size in json.loads(options.shapes))
    rows = speed(device, options.steps, options.rounds, shapes)
    name = torch.cuda.get_device_name() if device == "cuda" else device
    report.write(
        "gpu" if device == "cuda" else f"gpu-{device}",
        f"Training on a GPU ({name}, torch {torch.__version__})",
        ["model", "kernel", "plain loop, tokens/s", "chargen, AdamW", "factor",
         "factor with Muon", "share of the GEMM peak"],
        rows,
        f"Batch {BATCH}, {BPTT} tokens a window. Goals: 1.5x at 1x256 and 2x512, never below 1x.",
        "",
        *notes,
    )  # fmt: skip


if __name__ == "__main__":
    main()
