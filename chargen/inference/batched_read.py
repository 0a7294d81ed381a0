"""Reads a text in batch rows, and gives everything that the engine computes at each step.

This is the only numpy code that steps through a text in rows. Stepping a single state is bound by
memory, because every weight is fetched for every token; the rows of a batch share each fetch. In
`step_rows` the caller says which positions each row reads; `read_in_rows` reads every position
once.

Shape letters: N rows, L layers, S states, H hidden_size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from chargen.inference.engine import Array, Clamps, Stepper, TokenIds
from chargen.text.rows import Positions, lay_out
from chargen.text.tokenizer import Tokens

MAX_ROWS, MIN_ROWS = 64, 8
WARM_UP_TOKENS = 2048
"""Tokens that a row reads before its part: many times more than such a model remembers."""
MIN_TOKENS_IN_ROWS = 1 << 18
"""Tokens from which a whole text is read in rows."""
_MIN_PRODUCTS_IN_ROWS = 4e11
"""Tokens times parameters from which a whole text is read in rows, for large models."""
_STEPS_PER_REPORT = 64
_TOKENS_PER_REPORT = 2048

ProgressCallback = Callable[[float], None]
"""Called with the share of the work that is done, from 0 to 1."""


def ignore_progress(share: float) -> None:
    """A `ProgressCallback` that does nothing."""


def is_read_in_rows(stepper: Stepper, tokens: int) -> bool:
    """Whether a whole text of so many tokens is read in rows: one row would take minutes."""
    products = tokens * stepper.config.num_parameters
    return tokens >= MIN_TOKENS_IN_ROWS or products >= _MIN_PRODUCTS_IN_ROWS


def tokens_before_end(stepper: Stepper, tokens: int) -> int:
    """How many of the last tokens of a text `read_to_end` reads; all unless it is very long."""
    if not is_read_in_rows(stepper, tokens):
        return tokens
    return min(tokens, WARM_UP_TOKENS + -(-tokens // MAX_ROWS))


def read_to_end(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    state: Array,
    *,
    progress: ProgressCallback = ignore_progress,
) -> Array:
    """The state after reading a text (T,) from `state`.

    A text that would take minutes is read as the last row of `read_in_rows` reads it: the warm-up
    and the last part, from a zero state. So it takes no longer than to score the text.

    Args:
        stepper: the model.
        ids: the text.
        state: the state (L, S, H) before it; stays as it is.
        progress: called with the share that is read.
    """
    count = tokens_before_end(stepper, len(ids))
    if count < len(ids):
        state = stepper.zero_state()
    for start in range(len(ids) - count, len(ids), _TOKENS_PER_REPORT):
        end = min(start + _TOKENS_PER_REPORT, len(ids))
        state = stepper.read(np.asarray(ids[start:end], np.int64), state)
        progress(1 - (len(ids) - end) / count)
    return state.copy()


@dataclass(frozen=True, kw_only=True)
class BatchStep:
    """One step of all rows. The next step overwrites the arrays of the model."""

    positions: Positions
    """(N,): the position that each row read. A negative position is before the text: the state of
    that row is zero."""
    counts: npt.NDArray[np.bool_]
    """(N,): whether a row counts: its position is in its own part of the text."""
    logits: Array
    """(N, V)"""
    state: Array
    """(L, S, N, H)"""
    gates: Callable[[int], list[Array]]
    """The gates of a layer, each (N, H)."""

    @property
    def counted_positions(self) -> Positions:
        """(n,): the positions of the n rows that count."""
        return self.positions[self.counts]


def step_rows(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    rows: int,
    positions: Iterable[Positions],
    *,
    clamps: Clamps | None = None,
) -> Iterator[BatchStep]:
    """Steps N rows from zero states, each along its own positions of a text.

    A row that is still before the text (a negative position) keeps its zero state. Positions past
    the end read the last token again; they do not count.

    Args:
        stepper: the model.
        ids: the text (T,).
        rows: N.
        positions: for each step, the position (N,) that each row reads.
        clamps: units that are clamped in every step.
    """
    batched = stepper.batched(rows)
    state = batched.zero_state()
    last = len(ids) - 1
    for step_positions in positions:
        tokens = np.asarray(ids[np.clip(step_positions, 0, last)], np.int64)
        logits = batched.step(tokens, state, state, clamps)
        outside = step_positions < 0
        if outside.any():
            state[:, :, outside] = 0
        yield BatchStep(
            positions=step_positions,
            counts=~outside & (step_positions <= last),
            logits=logits,
            state=state,
            gates=lambda layer: batched.layers[layer].gates,
        )


def read_in_rows(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    *,
    rows: int = MAX_ROWS,
    warm_up: int = WARM_UP_TOKENS,
    clamps: Clamps | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Iterator[BatchStep]:
    """Reads a text (T,); every position counts in exactly one row.

    Each row but a single one first reads the tokens before its part, so that its state no longer
    depends on the zero state it began with.

    Args:
        stepper: the model.
        ids: the text.
        rows: the most rows; there are fewer if the warm-up would be more than a third of the work.
        warm_up: tokens that each row reads before its part.
        clamps: units that are clamped in every step.
        progress: called with the share that is read.
    """
    if warm_up:
        rows = min(rows, max(MIN_ROWS, len(ids) // (2 * warm_up)))
    layout = lay_out(len(ids), rows)
    warm_up = warm_up if len(layout) > 1 else 0
    longest = int((layout.ends - layout.starts).max())
    offsets = range(-warm_up, longest)
    positions = (layout.starts + offset for offset in offsets)
    steps = step_rows(stepper, ids, len(layout), positions, clamps=clamps)
    for offset, step in zip(offsets, steps, strict=True):
        if offset >= 0:
            yield replace(step, counts=step.positions < layout.ends)
        if offset % _STEPS_PER_REPORT == 0:
            progress((offset + warm_up) / (longest + warm_up))
