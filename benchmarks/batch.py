"""Many samples at once, and scoring a long text: what they cost beside one sample and the GEMM.

python benchmarks/batch.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import report

from chargen.inference.engine import Stepper
from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate, generate_batch
from chargen.inference.token_scores import total_nats
from chargen.model.config import ModelConfig
from chargen.text.char import CharTokenizer
from chargen.text.tokenizer import token_lengths
from chargen.training.evaluate import score_long

VOCABULARY = "\n" + "".join(map(chr, range(32, 96)))
LENGTH, MEGABYTE, ROUNDS = 200, 1_000_000, 3


def stepper_of(layers: int, size: int) -> Stepper:
    """An LSTM with random weights."""
    config = ModelConfig(vocab_size=65, hidden_size=size, num_layers=layers)
    random = np.random.default_rng(0)
    weights = {
        name: (random.standard_normal(shape) / 30).astype(np.float32)
        for name, shape in config.tensor_shapes().items()
    }
    return Stepper(config, weights)


def _seconds(function: Callable[[], object], rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    """Measure, print and write the table."""
    tokenizer, settings = CharTokenizer(VOCABULARY), SampleConfig(length=LENGTH, seed=1)
    rows = []
    for layers, size in ((1, 448), (2, 512)):
        stepper, start = stepper_of(layers, size), np.array([3])
        one = _seconds(lambda: list(generate(stepper, tokenizer, start, settings)))  # noqa: B023
        for count in (16, 64):
            many = _seconds(
                lambda: list(generate_batch(stepper, tokenizer, start, settings, count))  # noqa: B023
            )
            rows.append(
                [f"{count} samples of {LENGTH} characters, LSTM {layers}x{size}", f"{many:.2f} s",
                 f"{many / one:.1f} times one, {many / one / count:.2f} a sample"]
            )  # fmt: skip
        ids = np.random.default_rng(0).integers(65, size=MEGABYTE).astype(np.uint8)
        flop = 2.0 * MEGABYTE * (stepper.config.num_parameters - 65 * 64)
        ways = {
            "without torch": partial(total_nats, stepper, ids),
            "as `chargen eval` does": partial(
                score_long, stepper.config, stepper.weights, ids, token_lengths(tokenizer)
            ),
        }
        for how, function in ways.items():
            took = _seconds(function, rounds=1)
            rows.append(
                [f"scoring 1 MB, LSTM {layers}x{size}, {how}", f"{took:.1f} s",
                 f"{flop / took / 1e9:.0f} GFLOP/s"]
            )  # fmt: skip
    report.write(
        "batch",
        "Many samples at once, and scoring",
        ["what", "seconds", "beside"],
        rows,
        "Samples: without torch, in float32. Goal for scoring 1 MB at 2x512: 15 s. The input "
        "product of the first layer, counted here, is looked up in a table.",
    )


if __name__ == "__main__":
    main()
