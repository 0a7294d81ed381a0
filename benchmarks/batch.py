"""Writing many samples side by side, and scoring a long text: how long do they take?

    python benchmarks/batch.py

Many samples are compared with one sample of the same length. Scoring a million characters is
measured twice: without torch, and as `chargen eval` does it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import random_model
import report

from chargen.inference.filters import SampleConfig
from chargen.inference.generate import generate, generate_batch
from chargen.inference.token_scores import total_nats
from chargen.training.evaluate import nats_of_long_text

SHAPES = ((1, 448), (2, 512))
"""(Layers, units) of the LSTMs."""
SAMPLE_TOKENS, SAMPLE_COUNTS = 200, (16, 64)
TEXT_TOKENS = 1_000_000
ROUNDS = 3


def best_seconds(function: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest call."""
    return min(report.seconds(function, rounds=rounds, warm_up=False))


def sample_rows(layers: int, size: int) -> list[list[str]]:
    """Rows of the table: many samples beside one."""
    stepper, tokenizer = random_model.random_stepper(layers, size), random_model.tokenizer()
    prompt, config = np.array([3]), SampleConfig(length=SAMPLE_TOKENS, seed=1)
    single = best_seconds(lambda: list(generate(stepper, tokenizer, prompt, config)), ROUNDS)
    rows = []
    for count in SAMPLE_COUNTS:

        def write_samples(count: int = count) -> object:
            return list(generate_batch(stepper, tokenizer, prompt, config, count))

        together = best_seconds(write_samples, ROUNDS)
        rows.append(
            [
                f"{count} samples of {SAMPLE_TOKENS} characters, LSTM {layers}x{size}",
                f"{together:.2f} s",
                f"{together / single:.1f} times one, {together / single / count:.2f} a sample",
            ]
        )
    return rows


def score_rows(layers: int, size: int) -> list[list[str]]:
    """Rows of the table: scoring a long text."""
    stepper = random_model.random_stepper(layers, size)
    config = stepper.config
    ids = np.random.default_rng(0).integers(config.vocab_size, size=TEXT_TOKENS).astype(np.uint8)
    products = config.num_parameters - config.vocab_size * config.embedding_size
    flop = 2.0 * TEXT_TOKENS * products
    ways = {
        "without torch": partial(total_nats, stepper, ids),
        "as `chargen eval` does": partial(nats_of_long_text, config, stepper.weights, ids),
    }
    rows = []
    for way, function in ways.items():
        took = best_seconds(function, rounds=1)
        rows.append(
            [
                f"scoring {TEXT_TOKENS / 1e6:g} MB, LSTM {layers}x{size}, {way}",
                f"{took:.1f} s",
                f"{flop / took / 1e9:.0f} GFLOP/s",
            ]
        )
    return rows


def main() -> None:
    """Measures, prints and writes the table."""
    rows = []
    for layers, size in SHAPES:
        rows += sample_rows(layers, size) + score_rows(layers, size)
    report.write(
        "batch",
        "Many samples at once, and scoring",
        ["what", "seconds", "beside"],
        rows,
        "Samples are written without torch, in float32. Goal for scoring 1 MB at 2x512: 15 s. The "
        "input product of the first layer is counted, although it is looked up in a table.",
    )


if __name__ == "__main__":
    main()
