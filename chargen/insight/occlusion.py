"""Which earlier tokens a prediction rests on: leave each out, and see what it costs.

Erasure (Zeiler and Fergus, 2014; Li, Monroe and Jurafsky, 2016) needs no gradients: the text
is read again without one token, all of these side by side. Shape letters: T tokens.
"""

from __future__ import annotations

import numpy as np

from chargen.insight.views import Grid
from chargen.sampling.stepper import Array, Stepper, TokenIds, log_softmax


def why(stepper: Stepper, ids: TokenIds, before: Array) -> Array:
    """How many bits of the last token's prediction rest on each token before it: (T - 1,).

    Positive: without that token, the last one would have been less likely.

    Args:
        stepper: the model.
        ids: the text (T,); the last token is the one asked about.
        before: the state before the text, (L, S, H).
    """
    count = len(ids) - 1
    if count < 2:
        return np.zeros(count, np.float32)
    state = np.repeat(before[:, :, None], count + 1, axis=2)
    many = stepper.batched(count + 1)  # row k leaves token k out; the last row none
    logits = np.empty((count + 1, stepper.config.vocab_size), np.float32)
    for time, token in enumerate(ids[:-1]):
        kept = state[:, :, time].copy()
        kept_logits = logits[time].copy()
        logits = many.step(np.full(count + 1, token), state, state)
        state[:, :, time] = kept
        if time > 0:
            logits[time] = kept_logits
    if count and not np.isfinite(logits).all():
        logits = np.nan_to_num(logits)
    found = log_softmax(logits)[:, ids[-1]]
    return np.asarray((found[-1] - found[:-1]) / np.log(2), np.float32)


def why_view(bits: Array, labels: tuple[str, ...]) -> Grid:
    """A text (T,) coloured by what its last token rests on, (T - 1,) bits."""
    values = np.append(bits, np.nan).astype(np.float32)
    bound = max(0.5, float(np.abs(bits).max(initial=0.0)))
    return Grid(
        values=values[None],
        row_labels=("why",),
        column_labels=labels,
        low=-bound,
        high=bound,
        kind="diverging",
        title="what the last token rests on",
        measure="bits lost without it",
        layout="text",
    )
