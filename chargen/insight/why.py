"""Which earlier tokens a prediction rests on, in three ways. Shape letters: T tokens.

Leaving a token out (Zeiler and Fergus, 2014; Li, Monroe and Jurafsky, 2016) needs no gradients:
the text is read again without one token, all of these side by side. The gradient says what a
small change there would do; times the input, to first order, what the input did.

Passages of the training text after which a model was in nearly the same state.

Places spread over the text are read, each after a short run-up; the nearest to a state are those
with the largest cosine (Salton and McGill, 1983). Shape letters: N places, U units of all layers.

What a prediction rests on, in words: below the picture that `why` draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from chargen.errors import UsageError, unknown_name
from chargen.inference.batched_read import Progress, unwatched
from chargen.inference.engine import Array, Stepper, TokenIds, log_softmax
from chargen.insight.views import Grid
from chargen.text.tokenizer import Tokenizer, Tokens


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


PLACES = 50_000
_LANES = 1024
_COUNTED_AT_ONCE = 1 << 20
_RUN_UP = 64
"""Tokens read before a lane's places: nearly all that such a model remembers."""


@dataclass(frozen=True, kw_only=True)
class Passages:
    """States after places of a text."""

    places: npt.NDArray[np.int64] = field(repr=False)
    """(N,): the token after which each state is."""
    states: npt.NDArray[np.float16] = field(repr=False)
    """(N, U), each of length one."""

    def nearest(self, state: Array, count: int, *, apart: int = 40) -> list[tuple[int, float]]:
        """Places whose states are nearest, and their cosines; none within `apart` of another.

        Args:
            state: (L, S, H).
            count: how many, at most.
            apart: tokens between two places.
        """
        own = _direction(_outputs(state[:, :, None]))[0]
        cosines = np.zeros(len(self.places), np.float32)
        for first in range(0, len(cosines), 4096):
            cosines[first : first + 4096] = (
                self.states[first : first + 4096].astype(np.float32) @ own
            )
        found: list[tuple[int, float]] = []
        for one in np.argsort(-cosines, kind="stable"):
            place = int(self.places[one])
            if all(abs(place - other) >= apart for other, _ in found):
                found.append((place, float(cosines[one])))
            if len(found) == count:
                break
        return found


def build_passages(
    stepper: Stepper, ids: Tokens, *, count: int = PLACES, progress: Progress = unwatched
) -> Passages:
    """Read places spread over a text (T,); their states take 2 bytes a unit.

    Args:
        stepper: the model.
        ids: the text.
        count: how many places, about.
        progress: is told how far it is.
    """
    lanes = max(1, min(_LANES, len(ids) // (2 * _RUN_UP)))
    each = max(1, min(count // lanes, len(ids) // lanes))
    firsts = np.arange(lanes) * len(ids) // lanes
    many = stepper.batched(lanes)
    state = many.zero_state()
    places, states = [], []
    for offset in range(-_RUN_UP, each):
        at = firsts + offset
        many.step(np.asarray(ids[np.clip(at, 0, len(ids) - 1)], np.int64), state, state)
        state[:, :, at < 0] = 0
        if offset >= 0:
            places.append(at.astype(np.int64))
            states.append(_direction(_outputs(state)).astype(np.float16))
        progress((offset + _RUN_UP) / (each + _RUN_UP))
    return Passages(places=np.concatenate(places), states=np.concatenate(states))


def _outputs(state: Array) -> Array:
    """Of (L, S, N, H), what each layer shows: (N, L H)."""
    return np.ascontiguousarray(np.moveaxis(state[:, 0], 1, 0)).reshape(state.shape[2], -1)


def _direction(vectors: Array) -> Array:
    size = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.nan_to_num(vectors) / np.where(size > 0, size, 1), np.float32)


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A place of the training text, to be shown; its texts are not yet safe."""

    before: str
    after: str
    line: int
    """From 1."""
    cosine: float


def quote(
    ids: Tokens, tokenizer: Tokenizer, place: int, cosine: float, *, around: int = 30
) -> Passage:
    """What stands around a place.

    Args:
        ids: the text (T,).
        tokenizer: what its ids mean.
        place: a token; `before` ends with it.
        cosine: how near it is.
        around: tokens on each side.
    """
    ends = np.array(
        [tokenizer.token_bytes(one).count(b"\n") for one in range(tokenizer.vocab_size)], np.int64
    )
    lines = sum(
        int(ends[np.asarray(ids[start : min(place + 1, start + _COUNTED_AT_ONCE)])].sum())
        for start in range(0, place + 1, _COUNTED_AT_ONCE)
    )
    before = np.asarray(ids[max(0, place + 1 - around) : place + 1], np.int64)
    after = np.asarray(ids[place + 1 : place + 1 + around], np.int64)
    return Passage(
        before=tokenizer.decode(before), after=tokenizer.decode(after), line=1 + lines,
        cosine=cosine,
    )  # fmt: skip
