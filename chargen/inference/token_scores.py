"""How well a model predicts each token of a text.

A short text is read in one piece, a long text in batch rows. The two differ by rounding.
Shape letters: T tokens, n positions of one step, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chargen.inference.batched_read import (
    WARM_UP_TOKENS,
    ProgressCallback,
    ignore_progress,
    is_read_in_rows,
    read_in_rows,
)
from chargen.inference.engine import Array, Clamps, Stepper, TokenIds, check_finite, log_softmax
from chargen.text.rows import Positions
from chargen.text.tokenizer import Tokens

_MIN_TOKENS_PREDICTED_IN_ROWS = 1 << 14
"""Tokens from which single tokens are predicted in rows: one row would take seconds."""
_PREDICTION_WARM_UP_TOKENS = 512
"""Tokens that each of these rows reads before its part."""
_TOKENS_PER_SCORE_BLOCK = 1 << 16
_TOKENS_PER_READ = 256


def total_nats(stepper: Stepper, ids: TokenIds | Tokens) -> float:
    """The loss of all tokens (T,) after the first, in nats, summed.

    Reading starts at a zero state. A text that would take minutes is read in rows, each with its
    own state.
    """
    if is_read_in_rows(stepper, len(ids)):
        nats = 0.0
        for positions, logprobs in _predict_in_rows(stepper, ids, WARM_UP_TOKENS):
            nats -= float(_of_next(ids, positions, logprobs).sum(dtype=np.float64))
        return nats
    state, nats = stepper.zero_state(), 0.0
    for start in range(0, len(ids) - 1, _TOKENS_PER_SCORE_BLOCK):
        part = np.asarray(ids[start : start + _TOKENS_PER_SCORE_BLOCK + 1], np.int64)
        logprobs, state = stepper.score(part, state)
        nats -= float(logprobs.sum(dtype=np.float64))
    return nats


def token_logprobs(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    *,
    clamps: Clamps | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Array:
    """Log-probability in nats of each token (T,) after the first: (T - 1,).

    Args:
        stepper: the model.
        ids: the text.
        clamps: units that are clamped while the model reads.
        progress: called with the share that is read.
    """
    scores = np.empty(max(0, len(ids) - 1), np.float32)
    for positions, logprobs in predictions(stepper, ids, clamps=clamps, progress=progress):
        scores[positions] = _of_next(ids, positions, logprobs)
    return scores


def predictions(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    *,
    clamps: Clamps | None = None,
    warm_up: int = _PREDICTION_WARM_UP_TOKENS,
    progress: ProgressCallback = ignore_progress,
) -> Iterator[tuple[Positions, Array]]:
    """Reads a text and predicts the next token after every token but the last.

    Args:
        stepper: the model.
        ids: the text (T,).
        clamps: units that are clamped while the model reads.
        warm_up: tokens that each row of a long text reads before its part.
        progress: called with the share that is read.

    Raises:
        ChargenError: the model's numbers overflow.

    Yields:
        positions (n,) in the text, and the log-probabilities (n, V) of what follows them. Each
        position comes once; in a short text they come in order.
    """
    if len(ids) >= _MIN_TOKENS_PREDICTED_IN_ROWS or clamps:
        yield from _predict_in_rows(stepper, ids, warm_up, clamps, progress)
        return
    state = stepper.zero_state()
    for start in range(0, len(ids) - 1, _TOKENS_PER_READ):
        part = np.asarray(ids[start : min(start + _TOKENS_PER_READ, len(ids) - 1)], np.int64)
        logits, state = stepper.logits_of(part, state)
        check_finite(logits)
        yield np.arange(start, start + len(part)), log_softmax(logits)
        progress((start + len(part)) / len(ids))


def _predict_in_rows(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    warm_up: int,
    clamps: Clamps | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Iterator[tuple[Positions, Array]]:
    if len(ids) < 2:
        return
    for step in read_in_rows(stepper, ids[:-1], warm_up=warm_up, clamps=clamps, progress=progress):
        check_finite(step.logits)
        yield step.counted_positions, log_softmax(step.logits[step.counts])


def _of_next(ids: TokenIds | Tokens, positions: Positions, logprobs: Array) -> Array:
    """Picks from log-probabilities (n, V) those of the tokens that follow in the text: (n,)."""
    targets = np.asarray(ids[positions + 1], np.int64)
    return np.asarray(logprobs[np.arange(len(targets)), targets])
