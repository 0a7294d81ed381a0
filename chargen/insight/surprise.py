"""What surprises a model in a text, and what it expected instead. Shape letters: T tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from chargen.inference.batched_read import Progress, unwatched
from chargen.inference.engine import Array, Stepper, TokenIds
from chargen.inference.token_scores import predictions
from chargen.text.tokenizer import Tokens


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """Each token of a text as the model met it; the first one, which nothing predicts, as NaN."""

    bits: Array = field(repr=False)
    """(T,): what it cost."""
    expected: npt.NDArray[np.int64] = field(repr=False)
    """(T,): the likeliest token in its place."""
    chance: Array = field(repr=False)
    """(T,): how likely that one was."""


def measure_surprise(
    stepper: Stepper, ids: TokenIds | Tokens, *, progress: Progress = unwatched
) -> Surprise:
    """Read a text (T,) from an empty memory."""
    count = len(ids)
    found = Surprise(
        bits=np.full(count, np.nan, np.float32),
        expected=np.zeros(count, np.int64),
        chance=np.full(count, np.nan, np.float32),
    )
    for places, logprobs in predictions(stepper, ids, progress=progress):
        rows, after = np.arange(len(places)), places + 1
        found.bits[after] = -logprobs[rows, np.asarray(ids[after], np.int64)] / np.log(2)
        best = logprobs.argmax(1)
        found.expected[after] = best
        found.chance[after] = np.exp(logprobs[rows, best])
    return found


@dataclass(frozen=True, kw_only=True)
class TextPosition:
    """Where a token stands in its file, both from 1."""

    token: int
    """Its number in the text, from 0."""
    line: int
    column: int


def positions_of(labels: tuple[str, ...], tokens: npt.NDArray[np.intp]) -> list[TextPosition]:
    """Lines and columns, in characters, where tokens begin.

    Args:
        labels: the texts of all T tokens.
        tokens: the numbers of some, ascending.
    """
    found, line, column, done = [], 1, 1, 0
    for token in tokens:
        before = "".join(labels[done:token])
        done = int(token)
        ends = before.count("\n")
        line += ends
        column = len(before) - before.rfind("\n") if ends else column + len(before)
        found.append(TextPosition(token=done, line=line, column=column))
    return found
