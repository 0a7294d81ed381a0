"""Which earlier tokens a prediction rests on, in three ways. Shape letters: T tokens.

Leaving a token out (Zeiler and Fergus, 2014; Li, Monroe and Jurafsky, 2016) needs no gradients:
the text is read again without one token, all of these side by side. The gradient says what a
small change there would do; times the input, to first order, what the input did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chargen.errors import UsageError, unknown_name
from chargen.insight.views import Grid
from chargen.sampling.stepper import Array, Stepper, TokenIds, log_softmax


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A row of `CAUSES`."""

    help: str
    measure: Callable[[Stepper, TokenIds, Array], Array]
    """Of a text (T,) whose last token is asked about, and the state before it: (T - 1,)."""
    unit: str
    signed: bool
    says: str
    """What a bright token is."""


def left_out(stepper: Stepper, ids: TokenIds, before: Array) -> Array:
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


def _norms(stepper: Stepper, ids: TokenIds, before: Array) -> Array:
    from chargen.insight.gradients import answer  # torch, for who asks

    return answer(stepper.config, stepper.weights, ids, before).norms


def _products(stepper: Stepper, ids: TokenIds, before: Array) -> Array:
    from chargen.insight.gradients import answer

    return answer(stepper.config, stepper.weights, ids, before).products


CAUSES: dict[str, Cause] = {
    "omission": Cause(
        help="what the prediction costs without each token",
        measure=left_out,
        unit="bits lost without it",
        signed=True,
        says="brighter tokens made it likelier, by the bits that it would cost without them",
    ),
    "input": Cause(
        help="gradient times input: what each token did, to first order",
        measure=_products,
        unit="bits, gradient times input",
        signed=True,
        says="brighter tokens made it likelier, to first order",
    ),
    "gradient": Cause(
        help="the gradient's norm: where a small change would matter",
        measure=_norms,
        unit="gradient norm",
        signed=False,
        says="at brighter tokens a small change would matter more",
    ),
}
"""The ways to ask, in the order in which they are told."""


def find_cause(name: str) -> Cause:
    """A row of the table.

    Raises:
        UsageError: there is none.
    """
    if name not in CAUSES:
        raise UsageError(unknown_name("way to ask why", name, CAUSES))
    return CAUSES[name]


def cause_view(cause: Cause, values: Array, labels: tuple[str, ...]) -> Grid:
    """A text (T,) coloured by what its last token rests on, (T - 1,)."""
    largest = float(np.abs(np.nan_to_num(values)).max(initial=0.0))
    bound = max(0.5 if cause.signed else 1e-6, float(f"{largest:.2g}"))
    return Grid(
        values=np.append(values, np.nan).astype(np.float32)[None],
        row_labels=("why",),
        column_labels=labels,
        low=-bound if cause.signed else 0.0,
        high=bound,
        kind="diverging" if cause.signed else "sequential",
        title="what the last token rests on",
        measure=cause.unit,
        layout="text",
    )
