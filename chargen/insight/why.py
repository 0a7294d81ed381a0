"""Why a model predicts what it predicts: the earlier tokens, and similar passages of its text.

Answers two questions with numbers and pictures; the words to show them are elsewhere:

- Which earlier tokens does a prediction rest on? Omitting a token (Zeiler and Fergus, 2014; Li,
  Monroe and Jurafsky, 2016) needs no gradients: the text is read again without one token, all of
  these readings side by side. The gradient shows what a small change of a token would do; gradient
  times input shows, to first order, what the token did.
- Which passages of the training text left the model in nearly the same state? States at positions
  spread over the text are compared by their cosine (Salton and McGill, 1983).

Shape letters: T tokens, N positions, L layers, S states, H hidden_size, U units of all layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from chargen.errors import UsageError, unknown_name
from chargen.inference.batched_read import ProgressCallback, ignore_progress, step_rows
from chargen.inference.engine import Array, Stepper, TokenIds, log_softmax
from chargen.insight.views import Grid
from chargen.text.rows import lay_out
from chargen.text.tokenizer import Tokenizer, Tokens


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A row of `CAUSES`: a way to ask which earlier tokens a prediction rests on."""

    help: str
    measure: Callable[[Stepper, TokenIds, Array], Array]
    """From the model, a text (T,) whose last token is asked about, and the state before it, to a
    value for each earlier token, (T - 1,)."""
    unit: str
    signed: bool
    meaning: str
    """What a bright token means."""


def measure_omissions(stepper: Stepper, ids: TokenIds, before: Array) -> Array:
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
    batched = stepper.batched(count + 1)  # row k omits token k; the last row omits none
    logits = np.empty((count + 1, stepper.config.vocab_size), np.float32)
    for time, token in enumerate(ids[:-1]):
        omitting_state = state[:, :, time].copy()
        omitting_logits = logits[time].copy()
        logits = batched.step(np.full(count + 1, token), state, state)
        state[:, :, time] = omitting_state
        if time > 0:
            logits[time] = omitting_logits
    if not np.isfinite(logits).all():
        logits = np.nan_to_num(logits)
    logprobs = log_softmax(logits)[:, ids[-1]]
    return np.asarray((logprobs[-1] - logprobs[:-1]) / np.log(2), np.float32)


def _gradient_norms(stepper: Stepper, ids: TokenIds, before: Array) -> Array:
    from chargen.insight.gradients import measure_input_gradients  # imports torch only when asked

    return measure_input_gradients(stepper.config, stepper.weights, ids, before).norms


def _gradient_products(stepper: Stepper, ids: TokenIds, before: Array) -> Array:
    from chargen.insight.gradients import measure_input_gradients

    return measure_input_gradients(stepper.config, stepper.weights, ids, before).products


CAUSES: dict[str, Cause] = {
    "omission": Cause(
        help="what the prediction costs without each token",
        measure=measure_omissions,
        unit="bits lost without it",
        signed=True,
        meaning="brighter tokens made it likelier, by the bits that it would cost without them",
    ),
    "input": Cause(
        help="gradient times input: what each token did, to first order",
        measure=_gradient_products,
        unit="bits, gradient times input",
        signed=True,
        meaning="brighter tokens made it likelier, to first order",
    ),
    "gradient": Cause(
        help="the gradient's norm: where a small change would matter",
        measure=_gradient_norms,
        unit="gradient norm",
        signed=False,
        meaning="at brighter tokens a small change would matter more",
    ),
}
"""The ways to ask, in the order in which help lists them."""


def find_cause(name: str) -> Cause:
    """A row of the table.

    Raises:
        UsageError: there is no row of this name.
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


MAX_POSITIONS = 50_000
"""Positions of the training text whose states are kept."""
_MAX_ROWS = 1024
_WARM_UP_TOKENS = 64
"""Tokens that each row reads first: nearly all that such a model remembers."""
_MIN_DISTANCE_TOKENS = 40
_POSITIONS_PER_PRODUCT = 4096
_TOKENS_PER_COUNT = 1 << 20
_QUOTED_TOKENS = 30


@dataclass(frozen=True, kw_only=True)
class Passages:
    """The states of a model at positions of a text."""

    positions: npt.NDArray[np.int64] = field(repr=False)
    """(N,): the tokens after which the states are."""
    states: npt.NDArray[np.float16] = field(repr=False)
    """(N, U), each of length one."""

    def nearest(
        self, state: Array, count: int, *, apart: int = _MIN_DISTANCE_TOKENS
    ) -> list[tuple[int, float]]:
        """The positions with the most similar states, and their cosines, best first.

        Args:
            state: (L, S, H).
            count: how many, at most.
            apart: least distance in tokens between two of the positions.
        """
        direction = _unit_length(_hidden_of(state[:, :, None]))[0]
        cosines = np.zeros(len(self.positions), np.float32)
        for first in range(0, len(cosines), _POSITIONS_PER_PRODUCT):
            part = self.states[first : first + _POSITIONS_PER_PRODUCT].astype(np.float32)
            cosines[first : first + _POSITIONS_PER_PRODUCT] = part @ direction
        best: list[tuple[int, float]] = []
        for row in np.argsort(-cosines, kind="stable"):
            position = int(self.positions[row])
            if all(abs(position - other) >= apart for other, _ in best):
                best.append((position, float(cosines[row])))
            if len(best) == count:
                break
        return best


def build_passages(
    stepper: Stepper,
    ids: Tokens,
    *,
    count: int = MAX_POSITIONS,
    progress: ProgressCallback = ignore_progress,
) -> Passages:
    """Reads a text (T,) at positions spread over it; their states take 2 bytes a unit.

    Args:
        stepper: the model.
        ids: the text.
        count: how many positions, roughly.
        progress: called with the share that is done.
    """
    starts = lay_out(len(ids), min(_MAX_ROWS, len(ids) // (2 * _WARM_UP_TOKENS))).starts
    rows = len(starts)
    row_positions = max(1, min(count // rows, len(ids) // rows))
    offsets = range(-_WARM_UP_TOKENS, row_positions)
    steps = step_rows(stepper, ids, rows, (starts + offset for offset in offsets))
    positions, states = [], []
    for offset, step in zip(offsets, steps, strict=True):
        if offset >= 0:
            positions.append(step.positions.astype(np.int64))
            states.append(_unit_length(_hidden_of(step.state)).astype(np.float16))
        progress((offset + _WARM_UP_TOKENS) / (row_positions + _WARM_UP_TOKENS))
    return Passages(positions=np.concatenate(positions), states=np.concatenate(states))


def _hidden_of(state: Array) -> Array:
    """From (L, S, N, H), the hidden states of all layers: (N, L·H)."""
    return np.ascontiguousarray(np.moveaxis(state[:, 0], 1, 0)).reshape(state.shape[2], -1)


def _unit_length(vectors: Array) -> Array:
    size = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.nan_to_num(vectors) / np.where(size > 0, size, 1), np.float32)


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A passage of the training text. Its texts are not yet safe to show in a terminal."""

    before: str
    after: str
    line: int
    """From 1, of the training text as it was read."""
    cosine: float
    place: str | None = None
    """FILE:LINE of the file on disk; None where that is not known."""

    @property
    def context(self) -> dict[str, str]:
        """The quoted text before and after `around`."""
        above, line_end, _ = self.before.rpartition("\n")
        _, next_line, below = self.after.partition("\n")
        return {"before": above + line_end, "after": next_line + below}

    @property
    def around(self) -> str:
        """The line of text that the position is in, as far as it is quoted."""
        return self.before.rpartition("\n")[2] + self.after.partition("\n")[0]


def quote_passage(
    ids: Tokens,
    tokenizer: Tokenizer,
    position: int,
    cosine: float,
    *,
    around: int = _QUOTED_TOKENS,
) -> Passage:
    """The text around a position.

    Args:
        ids: the text (T,).
        tokenizer: decodes its ids.
        position: of a token; `before` ends with this token.
        cosine: how similar its state is.
        around: tokens on each side.
    """
    line_ends = np.array(
        [tokenizer.token_bytes(token).count(b"\n") for token in range(tokenizer.vocab_size)],
        np.int64,
    )
    lines = sum(
        int(line_ends[np.asarray(ids[start : min(position + 1, start + _TOKENS_PER_COUNT)])].sum())
        for start in range(0, position + 1, _TOKENS_PER_COUNT)
    )
    before = np.asarray(ids[max(0, position + 1 - around) : position + 1], np.int64)
    after = np.asarray(ids[position + 1 : position + 1 + around], np.int64)
    return Passage(
        before=_text_of(before, tokenizer),
        after=_text_of(after, tokenizer),
        line=1 + lines,
        cosine=cosine,
    )


def _text_of(ids: npt.NDArray[np.int64], tokenizer: Tokenizer) -> str:
    """The text of ids, with a line end where a document ends."""
    if tokenizer.eos_id is None:
        return tokenizer.decode(ids)
    parts = np.split(ids, np.flatnonzero(ids == tokenizer.eos_id) + 1)
    return "\n".join(tokenizer.decode(part) for part in parts)
