"""Models with random weights, for benchmarks that measure time and not quality."""

from __future__ import annotations

import numpy as np

from chargen.inference.engine import Stepper
from chargen.model.checkpoint import ModelFile
from chargen.model.config import ModelConfig
from chargen.text.char import CharTokenizer
from chargen.text.tokenizer import TokenizerState

CHARACTERS = "\n" + "".join(map(chr, range(32, 96)))
"""65 characters, as many as tiny Shakespeare has."""
_WEIGHT_DEVIATION = 1 / 30
"""Standard deviation of the weights: small enough that no state saturates."""


def tokenizer() -> CharTokenizer:
    """A tokenizer of `CHARACTERS`."""
    return CharTokenizer(CHARACTERS)


def random_model(
    layers: int,
    size: int,
    *,
    cell: str = "lstm",
    tokenizer_state: TokenizerState | None = None,
    vocabulary: int = len(CHARACTERS),
) -> ModelFile:
    """A model with random weights; the same one for the same arguments.

    Args:
        layers: recurrent layers.
        size: units of each layer.
        cell: a row of the table of cells.
        tokenizer_state: of the model's tokenizer; None takes `CHARACTERS`.
        vocabulary: tokens of that tokenizer.
    """
    config = ModelConfig(vocab_size=vocabulary, cell=cell, hidden_size=size, num_layers=layers)
    random = np.random.default_rng(0)
    weights = {
        name: (random.standard_normal(shape) * _WEIGHT_DEVIATION).astype(np.float32)
        for name, shape in config.tensor_shapes().items()
    }
    state = tokenizer().to_state() if tokenizer_state is None else tokenizer_state
    return ModelFile(config=config, tokenizer=state, weights=weights)


def random_stepper(layers: int, size: int, *, cell: str = "lstm") -> Stepper:
    """A stepper of `random_model`."""
    model = random_model(layers, size, cell=cell)
    return Stepper(model.config, model.weights)
