"""How much of the text before a token a model uses.

The model reads the text from many starts, each time from a zero state. After n tokens it has seen n
tokens, and predicts worse than with the whole text before it. The difference shrinks as n grows;
the memory of the model ends where it is negligible. A second reading begins with the tokens before
each start in random order (Khandelwal et al., 2018): it shows what they help without their order.

Both are compared with the same tokens read in full context, so easy and hard passages of the text
cancel out. Shape letters: N starts, T tokens after each, P points of the curves.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from chargen.inference.batched_read import ProgressCallback, ignore_progress, step_rows
from chargen.inference.engine import Array, Stepper, TokenIds, log_softmax
from chargen.inference.token_scores import token_logprobs
from chargen.insight.plot import Figure, Numbers, Plot, Series
from chargen.text.rows import Positions
from chargen.text.tokenizer import Tokens

MAX_VISIBLE_TOKENS = 256
NEGLIGIBLE = 0.01
"""Bits a token; a smaller difference counts as none."""
_DEFAULT_STARTS = 192
_MAX_TOKENS = 1 << 16
"""Tokens of a long text that are read."""
_MAX_SHUFFLED_TOKENS = 256
_SEED = 0
_STEPS_PER_REPORT = 16


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """What a token costs with a limited number of visible tokens before it."""

    visible: npt.NDArray[np.int64]
    """(P,): how many tokens are visible; the steps grow."""
    bits: Numbers = field(repr=False)
    """(P,): bits a token with only these tokens."""
    shuffled: Numbers = field(repr=False)
    """(P,): bits a token with these, and with the tokens before them in random order."""
    error: Numbers = field(repr=False)
    """(P,): standard error of `bits` minus `full`, over the starts."""
    full: float
    """Bits a token with all of the text."""
    longest: int
    """The largest number of visible tokens."""

    @property
    def horizon(self) -> float:
        """Visible tokens from which on fewer than `NEGLIGIBLE` bits are missing; inf: never."""
        return reached(self.visible, self.bits - self.full)

    @property
    def order(self) -> float:
        """Visible tokens from which on the order of the tokens before them does not matter."""
        return reached(self.visible, self.shuffled - self.full)


def reached(visible: npt.NDArray[np.int64], missing: Numbers) -> float:
    """The first point from which on all missing bits are below `NEGLIGIBLE`; inf: there is none.

    >>> reached(np.array([1, 2, 4, 8]), np.array([2.0, 0.001, 0.5, 0.0]))
    8.0
    """
    above = np.flatnonzero(missing >= NEGLIGIBLE)
    after = int(above[-1]) + 1 if above.size else 0
    return float(visible[after]) if after < len(visible) else float("inf")


def measure_horizon(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    *,
    longest: int = MAX_VISIBLE_TOKENS,
    starts: int = _DEFAULT_STARTS,
    progress: ProgressCallback = ignore_progress,
) -> Horizon:
    """Reads a text (at least 16 tokens) from many starts and compares with full context.

    Args:
        stepper: the model.
        ids: the text.
        longest: the most visible tokens; fewer if the text is short.
        starts: at how many positions reading begins.
        progress: called with the share that is done.
    """
    ids = ids[:_MAX_TOKENS]
    longest = max(4, min(longest, (len(ids) - 2) // 2))
    logprobs = token_logprobs(stepper, ids, progress=lambda share: progress(share / 2))
    full = -logprobs / np.log(2)  # at position p: bits of token p + 1
    before = min(_MAX_SHUFFLED_TOKENS, longest)
    firsts = np.unique(np.linspace(before, len(ids) - 1 - longest, starts).astype(np.intp))
    positions = firsts[None] + np.arange(longest)[:, None]  # (T, N)
    truth = full[positions]
    half = longest / (2 * longest + before) / 2
    alone = _bits_after(stepper, ids, positions, None, lambda share: progress(0.5 + half * share))
    order = np.random.default_rng(_SEED)
    mixed = np.stack(
        [order.permutation(np.arange(first - before, first)) for first in firsts], axis=1
    )
    shuffled = _bits_after(
        stepper, ids, positions, mixed, lambda share: progress(0.5 + half + (0.5 - half) * share)
    )
    bins = list(itertools.pairwise(_edges(longest)))
    mean = float(full.mean(dtype=np.float64))
    missing = [(alone[low:high] - truth[low:high]).mean(0, dtype=np.float64) for low, high in bins]
    mixed_up = [(shuffled[low:high] - truth[low:high]).mean(dtype=np.float64) for low, high in bins]
    return Horizon(
        visible=np.array([low + 1 for low, _ in bins]),
        bits=mean + np.array([by_start.mean() for by_start in missing]),
        shuffled=mean + np.array(mixed_up),
        error=np.array([by_start.std() / np.sqrt(len(by_start)) for by_start in missing]),
        full=mean,
        longest=longest,
    )


def _edges(longest: int) -> list[int]:
    """The edges of ranges of visible tokens: single counts up to 4, then ever wider ranges."""
    edges, step = [0], 1.0
    while edges[-1] < longest:
        step = max(1.0, step * 1.25 if edges[-1] >= 4 else 1.0)
        edges.append(min(longest, edges[-1] + int(step)))
    return edges


def _bits_after(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    positions: Positions,
    before: Positions | None,
    progress: ProgressCallback,
) -> Array:
    """Bits of the token after each position (T, N), from zero states that first read `before`."""
    lines = positions if before is None else np.concatenate([before, positions])
    bits = np.empty(positions.shape, np.float32)
    skipped = len(lines) - len(positions)
    rows = np.arange(positions.shape[1])
    for time, step in enumerate(step_rows(stepper, ids, len(rows), lines)):
        if time >= skipped:
            following = np.asarray(ids[step.positions + 1], np.int64)
            bits[time - skipped] = -log_softmax(step.logits)[rows, following] / np.log(2)
        if time % _STEPS_PER_REPORT == 0:
            progress(time / len(lines))
    return bits


def horizon_figure(horizon: Horizon, unit: str) -> Figure:
    """Two curves, and the horizon in words.

    Args:
        horizon: what was measured.
        unit: what a token is: `character`, `token`.
    """
    x = horizon.visible.astype(float)
    curves = {"nothing before them": horizon.bits, "before them, shuffled": horizon.shuffled}
    plot = Plot(
        series=tuple(Series(name=name, x=x, y=y - horizon.full) for name, y in curves.items()),
        x_label=f"visible {unit}s",
        y_label=f"bits a {unit} more than with all of the text",
        log_x=True,
        log_y=True,
        y_range=(NEGLIGIBLE / 10, 10.0),
    )
    title = f"What is missing with only so many {unit}s visible"
    return Figure(title=title, plots=(plot,), notes=(_describe_horizon(horizon, unit),))


def _describe_horizon(horizon: Horizon, unit: str) -> str:
    """The horizon in words."""
    if horizon.horizon == float("inf"):
        memory = f"its memory is longer than the {horizon.longest} {unit}s that were tried"
    else:
        count = f"{horizon.horizon:.0f} {unit}{'' if horizon.horizon == 1 else 's'}"
        memory = (
            f"the memory horizon is {count}: "
            f"with so many visible, less than {NEGLIGIBLE} bits a {unit} are missing"
        )
    order = (
        f"; farther back than {horizon.order:.0f}, only which {unit}s stood there matters, not "
        "their order"
        if horizon.order < horizon.horizon
        else "; up to there their order matters"
    )
    return f"{memory}{order} ({horizon.full:.3f} bits a {unit} with all of the text)"
