"""Score: how well a model predicts a text, in several units.

Bits per byte and per character can be compared across tokenizers; nats per token cannot.

Shape letter: V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

_MAX_EXPONENT = 700.0
"""exp of more overflows a float64."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """The loss of a text: in nats per token, and in bits per byte and per character."""

    nats_per_token: float
    """Mean negative natural logarithm of the predicted tokens' probabilities."""
    perplexity: float
    """exp of nats_per_token."""
    bits_per_byte: float
    """The summed loss in bits, divided by the UTF-8 bytes of the predicted tokens."""
    bits_per_character: float
    """The summed loss in bits, divided by the characters of the predicted tokens."""
    tokens: int
    """Predicted tokens: all but the first, which has nothing before it to predict it from."""
    bytes: int
    """UTF-8 bytes of the predicted tokens."""
    characters: int
    """Characters of the predicted tokens."""

    def to_json(self) -> dict[str, float | int]:
        """The fields as plain values."""
        return asdict(self)


def make_score(
    nats: float, predicted: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> Score:
    """Makes a score from a summed loss.

    Args:
        nats: the loss, summed over all predictions.
        predicted: (V,) how often each token was the target.
        lengths: (2, V) the bytes and the characters of each token, from `token_lengths`.
    """
    tokens = int(predicted.sum())
    # A text of end tokens only has no bytes. Its score means little; 1 avoids dividing by zero.
    size, characters = (max(1, int(length)) for length in lengths @ predicted)
    bits = nats / math.log(2)
    return Score(
        nats_per_token=nats / tokens,
        perplexity=math.exp(min(nats / tokens, _MAX_EXPONENT)),
        bits_per_byte=bits / size,
        bits_per_character=bits / characters,
        tokens=tokens,
        bytes=size,
        characters=characters,
    )
