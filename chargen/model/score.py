"""Score: how well a text was predicted, in the units that compare across tokenizers."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Score:
    """A text scored: nats per token, and the same per byte and per character in bits."""

    nats_per_token: float
    """Mean negative natural logarithm of the predicted tokens' probabilities."""
    perplexity: float
    """exp of it."""
    bits_per_byte: float
    """log2 of it, summed, over the UTF-8 bytes of the predicted tokens."""
    bits_per_character: float
    """The same over their characters."""
    tokens: int
    """Predictions made: the first token of a text is read, but nothing predicts it."""
    bytes: int
    """UTF-8 bytes of the predicted tokens."""
    characters: int
    """Characters of the predicted tokens."""

    def to_json(self) -> dict[str, float | int]:
        """Plain values, under the names above."""
        return asdict(self)


def make_score(
    nats: float, predicted: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> Score:
    """A score from a summed loss.

    Args:
        nats: the sum over all predictions.
        predicted: (V,) how often each token was to be predicted.
        lengths: (2, V) bytes and characters of each token, of `token_lengths`.
    """
    tokens = int(predicted.sum())
    # Texts of nothing but end tokens have no bytes; a score of them says little either way.
    size, characters = (max(1, int(one)) for one in lengths @ predicted)
    bits = nats / math.log(2)
    return Score(
        nats_per_token=nats / tokens,
        perplexity=math.exp(min(nats / tokens, 700.0)),
        bits_per_byte=bits / size,
        bits_per_character=bits / characters,
        tokens=tokens,
        bytes=size,
        characters=characters,
    )
