"""Training on a GPU: chargen's steps against a plain cuDNN loop, and what a model learns.

    python benchmarks/gpu.py [TEXT ...] [--seconds S] [--device cuda]

Needs torch (with what torch itself installs), numpy, safetensors and a copy of chargen's sources;
chargen need not be installed. The plain loop is nn.Embedding, nn.LSTM (or GRU, RNN), nn.Linear and
fused AdamW, under bfloat16 autocast or in float32. It asks for the loss after every step, as a loop
does that logs it. chargen's steps are `GraphedSteps`, as in a run on a GPU.

A model trains on the first nine tenths of each TEXT for S seconds with default settings; its score
is that of the last tenth. Shape letters: B batch rows, T tokens per row.
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
from chargen.text.dataset import open_dataset
from chargen.text.text_options import TextOptions, options_to_json
from chargen.training.batches import BatchStream
from chargen.training.clock import RunClock
from chargen.training.config import TrainConfig
from chargen.training.cuda_graphs import MAX_STEPS, GraphedSteps
from chargen.training.device import prepare_torch
from chargen.training.evaluate import evaluate
from chargen.training.events import Planned, StepDone
from chargen.training.kernels import Kernel, candidates
from chargen.training.network import RecurrentLM
from chargen.training.recovery import Recovery
from chargen.training.session import RunText, train_run
from chargen.training.step import TrainingState

VOCABULARY, EMBEDDING, BATCH, BPTT = 65, 64, 64, 128
TOKENS_PER_STEP = BATCH * BPTT
SHAPES = ((1, 256), (2, 512), (2, 1024), (3, 2048))
"""(Layers, units) of the models."""
STOCK_MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
GEMM_ROUNDS, GEMM_WARM_UP_ROUNDS = 12, 2
Steps = Callable[[int], None]
"""Takes so many training steps."""


def now(device: str) -> float:
    """Seconds, when everything that the device was asked for is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def gemm_peak(device: str, dtype: torch.dtype) -> float:
    """FLOP a second of a large matrix product."""
    size = 8192 if device == "cuda" else 512
    matrix = torch.randn(size, size, device=device).to(dtype)
    times = []
    for _ in range(GEMM_ROUNDS):
        began = now(device)
        matrix @ matrix
        times.append(now(device) - began)
    return 2 * size**3 / median(times[GEMM_WARM_UP_ROUNDS:])


def stock_steps(cell: str, layers: int, size: int, device: str, bf16: bool) -> Steps:
    """Training steps as they are usually written with torch.nn."""
    recurrent = STOCK_MODULES[cell](EMBEDDING, size, layers).to(device)
    embedding = torch.nn.Embedding(VOCABULARY, EMBEDDING).to(device)
    head = torch.nn.Linear(size, VOCABULARY).to(device)
    parameters = [*embedding.parameters(), *recurrent.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    tokens = torch.randint(VOCABULARY, (BPTT + 1, BATCH))

    def take(count: int) -> None:
        for _ in range(count):
            window = tokens.to(device)
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                hidden, _ = recurrent(embedding(window[:-1]))
                logits = head(hidden).flatten(0, 1)
                loss = functional.cross_entropy(logits, window[1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()

    return take


def chargen_steps(
    cell: str, layers: int, size: int, device: str, kernel: Kernel, optimizer: str
) -> Steps:
    """Training steps of chargen; on a GPU they are captured as CUDA graphs."""
    config = ModelConfig(
        vocab_size=VOCABULARY,
        cell=cell,
        hidden_size=size,
        num_layers=layers,
        embedding_size=EMBEDDING,
    )
    settings = TrainConfig(
        steps=10**6,
        batch_size=BATCH,
        bptt=BPTT,
        optimizer=optimizer,
        device=device,
        precision="bf16" if kernel.bf16 else "fp32",
    )
    torch_device = prepare_torch(settings)
    network = RecurrentLM(config, kernel=kernel).to(torch_device)
    text = np.random.default_rng(0).integers(VOCABULARY, size=1 << 20).astype(np.uint8)
    training = TrainingState(network, settings, BatchStream(text, BATCH, BPTT))
    steps = GraphedSteps(training, Recovery(), capture=device == "cuda")

    def take(count: int) -> None:
        for first in range(0, count, MAX_STEPS):
            steps.take([1e-4] * min(MAX_STEPS, count - first), 0.0)

    return take


def measure(runs: list[Steps], device: str, count: int, rounds: int) -> list[list[float]]:
    """Seconds of a step of each run in each round; the runs take turns."""
    for take in runs:
        take(count)  # captures graphs, and lets libraries choose their algorithms
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for take, times_of_run in zip(runs, times, strict=True):
            began = now(device)
            take(count)
            times_of_run.append((now(device) - began) / count)
    return times


def speed_row(
    cell: str,
    layers: int,
    size: int,
    device: str,
    kernel: Kernel,
    peak: float,
    count: int,
    rounds: int,
) -> list[str]:
    """A row of the table.

    Args:
        cell: lstm, gru or rnn.
        layers: recurrent layers.
        size: units of each layer.
        device: torch's name.
        kernel: what computes chargen's recurrences.
        peak: FLOP a second of a large product in the kernel's precision.
        count: steps of a round.
        rounds: how many to measure.
    """
    torch.set_float32_matmul_precision("highest")
    runs = [
        stock_steps(cell, layers, size, device, kernel.bf16),
        chargen_steps(cell, layers, size, device, kernel, "adamw"),
        chargen_steps(cell, layers, size, device, kernel, "muon"),
    ]
    stock, adamw, muon = measure(runs, device, count, rounds)
    flop = report.training_flop(
        cell, layers, size, embedding=EMBEDDING, vocabulary=VOCABULARY, tokens=TOKENS_PER_STEP
    )
    factors = [
        median(theirs / our for theirs, our in zip(stock, ours, strict=True))
        for ours in (adamw, muon)
    ]
    return [
        f"{cell} {layers}x{size}",
        kernel.label,
        f"{TOKENS_PER_STEP / median(stock):,.0f}",
        f"{TOKENS_PER_STEP / median(adamw):,.0f}",
        f"{factors[0]:.2f}x",
        f"{factors[1]:.2f}x",
        f"{flop / median(adamw) / peak:.3f}",
    ]


def speed(
    device: str, count: int, rounds: int, shapes: tuple[tuple[int, int], ...]
) -> list[list[str]]:
    """Rows of the table, for both precisions, all cells and shapes."""
    rows = []
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        peak = gemm_peak(device, dtype)
        for cell in STOCK_MODULES:
            kernels = candidates(cell, device, "auto", precision)
            for layers, size in shapes if kernels else ():
                row = speed_row(cell, layers, size, device, kernels[0], peak, count, rounds)
                print(" | ".join(row), flush=True)
                rows.append(row)
    return rows


def quality(path: Path, seconds: float, device: str) -> str:
    """A line: the score of a text's last tenth after so many seconds of training on the rest."""
    text = path.read_text(encoding="utf-8")
    cut = int(len(text) * 0.9)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        corpus = folder / "text.txt"
        corpus.write_text(text[:cut], encoding="utf-8")
        began, tokens, plan = time.perf_counter(), 0, ""
        options = TextOptions(corpus=(str(corpus),))
        dataset = open_dataset(options)
        with RunClock() as clock:
            events = train_run(
                folder / "run",
                RunText(tokenizer=dataset.tokenizer, train=dataset.train, valid=dataset.valid),
                card=dataset.card,
                source=options_to_json(options),
                given={"minutes": seconds / 60, "device": device},
                should_stop=lambda: False,
                clock=clock,
            )
            for event in events:
                if isinstance(event, Planned):
                    plan = (
                        f"{event.model.cell_row.label}, {event.model.units_label}, batch "
                        f"{event.train.batch_size} x {event.train.bptt}"
                    )
                elif isinstance(event, StepDone):
                    tokens = event.tokens
        took = time.perf_counter() - began
        model = load(folder / "run")
        network = RecurrentLM(model.config).to(device)
        network.load_weights(model.file.weights)
        ids = model.tokenizer.encode(text[cut:])
        score = evaluate(network, ids, np.ones((2, model.config.vocab_size), np.int64))
    return (
        f"{path.name}, {seconds:.0f} s asked for, {took:.1f} s taken: {score.nats_per_token:.4f} "
        f"nats a token; {plan}, {tokens / 1e6:.1f} M tokens read"
    )


def main() -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", nargs="*", type=Path, metavar="TEXT")
    parser.add_argument(
        "--seconds", type=float, action="append", help="of training; may be given several times"
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=32, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", default=json.dumps(SHAPES), help="layers and units, as JSON")
    options = parser.parse_args()
    device = options.device
    try:
        prepare_torch(TrainConfig(steps=1, device=device))
    except ChargenError as error:
        sys.exit(f"{error}")
    notes = []
    for path in options.texts:
        for seconds in options.seconds or [60.0]:
            line = quality(path, seconds, device)
            print(line, flush=True)
            notes += [line, ""]
    shapes = tuple((layers, size) for layers, size in json.loads(options.shapes))
    rows = speed(device, options.steps, options.rounds, shapes)
    name = torch.cuda.get_device_name() if device == "cuda" else device
    report.write(
        "gpu" if device == "cuda" else f"gpu-{device}",
        f"Training on a GPU ({name}, torch {torch.__version__})",
        ["model", "kernel", "plain loop, tokens/s", "chargen, AdamW", "factor",
         "factor with Muon", "share of the GEMM peak"],
        rows,
        f"Batch {BATCH} x {BPTT} tokens. Goals: 1.5x at 1x256 and 2x512, never below 1x.",
        "",
        *notes,
    )  # fmt: skip


if __name__ == "__main__":
    main()
