"""Which tokens of a text surprise a model, what it expected instead, and their line and column.

Shape letter: T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from chargen.inference.batched_read import ProgressCallback, ignore_progress
from chargen.inference.engine import Array, Stepper, TokenIds
from chargen.inference.token_scores import predictions
from chargen.text.rows import Positions
from chargen.text.tokenizer import Tokens


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """How well each token of a text was predicted; NaN for the first, which nothing predicts."""

    bits: Array = field(repr=False)
    """(T,): what the token cost."""
    expected: npt.NDArray[np.int64] = field(repr=False)
    """(T,): the most likely token at this position."""
    probability: Array = field(repr=False)
    """(T,): the probability of that most likely token."""


def measure_surprise(
    stepper: Stepper, ids: TokenIds | Tokens, *, progress: ProgressCallback = ignore_progress
) -> Surprise:
    """Reads a text (T,) from a zero state."""
    count = len(ids)
    surprise = Surprise(
        bits=np.full(count, np.nan, np.float32),
        expected=np.zeros(count, np.int64),
        probability=np.full(count, np.nan, np.float32),
    )
    for positions, logprobs in predictions(stepper, ids, progress=progress):
        rows, after = np.arange(len(positions)), positions + 1
        surprise.bits[after] = -logprobs[rows, np.asarray(ids[after], np.int64)] / np.log(2)
        best = logprobs.argmax(1)
        surprise.expected[after] = best
        surprise.probability[after] = np.exp(logprobs[rows, best])
    return surprise


@dataclass(frozen=True, kw_only=True)
class TextPosition:
    """The position of a token in its file."""

    token: int
    """Its number in the text, from 0."""
    line: int
    """From 1."""
    column: int
    """In characters, from 1."""


def positions_of(labels: tuple[str, ...], tokens: Positions) -> list[TextPosition]:
    """Lines and columns at which tokens begin.

    Args:
        labels: the texts of all T tokens.
        tokens: the numbers of some tokens, ascending.
    """
    positions, line, column, done = [], 1, 1, 0
    for token in tokens:
        before = "".join(labels[done:token])
        done = int(token)
        line_ends = before.count("\n")
        line += line_ends
        column = len(before) - before.rfind("\n") if line_ends else column + len(before)
        positions.append(TextPosition(token=done, line=line, column=column))
    return positions
