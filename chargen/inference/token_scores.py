"""How well a model predicts a whole text: read in one piece, or a long one in lanes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from chargen.inference.batched_read import WARM_UP, Progress, read_in_rows, unwatched
from chargen.inference.engine import Array, Clamps, Stepper, TokenIds, check_finite, log_softmax
from chargen.text.tokenizer import Tokens

LONG = 1 << 18
"""Tokens from which lanes are worth it for a score."""
_HEAVY = 4e11
"""Products of a text with a model's weights from which they are worth it for a large model."""
_LONG_TO_WAIT = 1 << 14
"""Tokens from which a person would wait for one lane."""
_SHORT_WARM_UP = 512
_SCORED_AT_ONCE = 1 << 16
_READ_AT_ONCE = 256


def total_nats(stepper: Stepper, ids: TokenIds | Tokens) -> float:
    """Nats that the tokens (N,) after the first cost, from a zero state, state carried.

    Where that would take minutes, lanes carry their own states; the total then differs by
    rounding.
    """
    if len(ids) >= LONG or len(ids) * stepper.config.num_parameters >= _HEAVY:
        nats = 0.0
        for places, logprobs in _in_lanes(stepper, ids, WARM_UP):
            targets = np.asarray(ids[places + 1], np.int64)
            nats -= float(logprobs[np.arange(len(targets)), targets].sum(dtype=np.float64))
        return nats
    state, nats = stepper.zero_state(), 0.0
    for start in range(0, len(ids) - 1, _SCORED_AT_ONCE):
        part = np.asarray(ids[start : start + _SCORED_AT_ONCE + 1], np.int64)
        logprobs, state = stepper.score(part, state)
        nats -= float(logprobs.sum(dtype=np.float64))
    return nats


def token_logprobs(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    *,
    holds: Clamps | None = None,
    progress: Progress = unwatched,
) -> Array:
    """Log-probability in nats of each token (N,) after the first: (N - 1,).

    A long text is read in lanes; the numbers then differ by rounding.

    Args:
        stepper: the model.
        ids: the text.
        holds: units that are held while it reads.
        progress: is told how far it is.
    """
    found = np.empty(max(0, len(ids) - 1), np.float32)
    for places, logprobs in predictions(stepper, ids, holds=holds, progress=progress):
        targets = np.asarray(ids[places + 1], np.int64)
        found[places] = logprobs[np.arange(len(targets)), targets]
    return found


def predictions(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    *,
    holds: Clamps | None = None,
    progress: Progress = unwatched,
) -> Iterator[tuple[npt.NDArray[np.intp], Array]]:
    """Read a text, and say after each token but the last what comes next.

    Args:
        stepper: the model.
        ids: the text (N,).
        holds: units that are held while it reads.
        progress: is told how far it is.

    Raises:
        ChargenError: the model's numbers overflow.

    Yields:
        places (n,) in the text, and the log-probabilities (n, V) of what follows them; each place
        once, in order where the text is short.
    """
    if len(ids) >= _LONG_TO_WAIT or holds:
        yield from _in_lanes(stepper, ids, _SHORT_WARM_UP, holds, progress)
        return
    state = stepper.zero_state()
    for start in range(0, len(ids) - 1, _READ_AT_ONCE):
        part = np.asarray(ids[start : min(start + _READ_AT_ONCE, len(ids) - 1)], np.int64)
        logits, state = stepper.logits_of(part, state)
        check_finite(logits)
        yield np.arange(start, start + len(part)), log_softmax(logits)
        progress((start + len(part)) / len(ids))


def _in_lanes(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    warm_up: int,
    holds: Clamps | None = None,
    progress: Progress = unwatched,
) -> Iterator[tuple[npt.NDArray[np.intp], Array]]:
    if len(ids) < 2:
        return
    steps = read_in_rows(stepper, ids[:-1], warm_up=warm_up, holds=holds, progress=progress)
    for one in steps:
        check_finite(one.logits)
        yield one.places, log_softmax(one.logits[one.counts])
