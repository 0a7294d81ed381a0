"""How much of the text before a token the model makes use of.

The text is read from many places with nothing before them; n tokens later the model has seen n
tokens, and predicts worse than with all of the text, by less and less. Where nothing is missing
any more, its memory ends. A second reading begins with what stood before, but shuffled
(Khandelwal et al., 2018): what that still helps, needs no order.

Both are compared with the same tokens read in full context, so that the text's own ups and downs
cancel. Shape letters: N places, T tokens after each.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from chargen.inference.batched_read import Progress, unwatched
from chargen.inference.engine import Array, Stepper, TokenIds, log_softmax
from chargen.inference.token_scores import token_logprobs
from chargen.insight.plot import Figure, Numbers, Plot, Series
from chargen.text.tokenizer import Tokens

LONGEST = 256
"""Tokens after each place."""
NEGLIGIBLE = 0.01
"""Bits a token: where less is missing, nothing is."""
_PLACES = 192
_MOST = 1 << 16
"""Tokens of a long text that are read."""
_SHUFFLED = 256
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """What a token costs with so many tokens visible before it."""

    visible: npt.NDArray[np.int64]
    """(P,): how many; in steps that grow."""
    bits: Numbers = field(repr=False)
    """(P,): bits a token with those and nothing before."""
    shuffled: Numbers = field(repr=False)
    """(P,): bits a token with those, and what stood before them in another order."""
    error: Numbers = field(repr=False)
    """(P,): standard error of `bits` minus `full`, over the places."""
    full: float
    """Bits a token with all of the text."""
    longest: int
    """The most that was tried."""

    @property
    def horizon(self) -> float:
        """Visible tokens from which on less than `NEGLIGIBLE` bits are missing; inf: never."""
        return reached(self.visible, self.bits - self.full)

    @property
    def order(self) -> float:
        """Visible tokens from which on the order of those before them makes no difference."""
        return reached(self.visible, self.shuffled - self.full)


def reached(visible: npt.NDArray[np.int64], missing: Numbers) -> float:
    """From which point on all that is missing stays below `NEGLIGIBLE`; inf: it never does.

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
    longest: int = LONGEST,
    places: int = _PLACES,
    progress: Progress = unwatched,
) -> Horizon:
    """Read a text (at least 16 tokens) from many places with less and with more before them.

    Args:
        stepper: the model.
        ids: the text (T,).
        longest: most tokens that are visible, fewer where the text is short.
        places: how many beginnings.
        progress: is told how far it is.
    """
    ids = ids[:_MOST]
    longest = max(4, min(longest, (len(ids) - 2) // 2))
    known = token_logprobs(stepper, ids, progress=lambda share: progress(share / 2))
    full = -known / np.log(2)  # (T - 1,): bits of token t + 1
    before = min(_SHUFFLED, longest)
    firsts = np.unique(np.linspace(before, len(ids) - 1 - longest, places).astype(np.intp))
    targets = firsts[None] + np.arange(longest)[:, None]  # (longest, N) tokens read
    truth = full[targets]
    half = longest / (2 * longest + before) / 2
    alone = _bits_after(stepper, ids, targets, None, lambda share: progress(0.5 + half * share))
    order = np.random.default_rng(_SEED)
    mixed = np.stack([order.permutation(np.arange(one - before, one)) for one in firsts], axis=1)
    shuffled = _bits_after(
        stepper, ids, targets, mixed, lambda share: progress(0.5 + half + (0.5 - half) * share)
    )
    edges = _edges(longest)
    bins = list(itertools.pairwise(edges))
    mean = float(full.mean(dtype=np.float64))
    missing = [(alone[low:high] - truth[low:high]).mean(0, dtype=np.float64) for low, high in bins]
    mixed_up = [(shuffled[low:high] - truth[low:high]).mean(dtype=np.float64) for low, high in bins]
    return Horizon(
        visible=np.array([low + 1 for low, _ in bins]),
        bits=mean + np.array([one.mean() for one in missing]),
        shuffled=mean + np.array(mixed_up),
        error=np.array([one.std() / np.sqrt(len(one)) for one in missing]),
        full=mean,
        longest=longest,
    )


def _edges(longest: int) -> list[int]:
    """1, 2, 3, 4, then ever wider ranges: where single counts would say nothing."""
    edges, step = [0], 1.0
    while edges[-1] < longest:
        step = max(1.0, step * 1.25 if edges[-1] >= 4 else 1.0)
        edges.append(min(longest, edges[-1] + int(step)))
    return edges


def _bits_after(
    stepper: Stepper,
    ids: TokenIds | Tokens,
    targets: npt.NDArray[np.intp],
    before: npt.NDArray[np.intp] | None,
    progress: Progress,
) -> Array:
    """Bits of the token after each of `targets` (T, N), from zero states that read `before`."""
    many = stepper.batched(targets.shape[1])
    state = many.zero_state()
    rows = targets if before is None else np.concatenate([before, targets])
    found = np.empty(targets.shape, np.float32)
    skipped = len(rows) - len(targets)
    every = np.arange(targets.shape[1])
    for time, row in enumerate(rows):
        logits = many.step(np.asarray(ids[row], np.int64), state, state)
        if time >= skipped:
            following = np.asarray(ids[row + 1], np.int64)
            found[time - skipped] = -log_softmax(logits)[every, following] / np.log(2)
        if time % 16 == 0:
            progress(time / len(rows))
    return found


def horizon_figure(found: Horizon, unit: str) -> Figure:
    """Two curves, and the horizon in words.

    Args:
        found: what was measured.
        unit: what a token is: `character`, `token`.
    """
    x = found.visible.astype(float)
    curves = {"nothing before them": found.bits, "before them, shuffled": found.shuffled}
    plot = Plot(
        series=tuple(Series(name=name, x=x, y=y - found.full) for name, y in curves.items()),
        x_label=f"visible {unit}s",
        y_label=f"bits a {unit} more than with all of the text",
        log_x=True,
        log_y=True,
        y_range=(NEGLIGIBLE / 10, 10.0),
    )
    title = f"What is missing with only so many {unit}s visible"
    return Figure(title=title, plots=(plot,), notes=(_said(found, unit),))


def _said(one: Horizon, unit: str) -> str:
    """The horizon in words."""
    if one.horizon == float("inf"):
        end = f"its memory is longer than the {one.longest} {unit}s that were tried"
    else:
        end = (
            f"the memory horizon is {one.horizon:.0f} {unit}{'' if one.horizon == 1 else 's'}: "
            f"with so many visible, less than {NEGLIGIBLE} bits a {unit} are missing"
        )
    order = (
        f"; farther back than {one.order:.0f}, only which {unit}s stood there matters, not their "
        "order"
        if one.order < one.horizon
        else "; up to there their order matters"
    )
    return f"{end}{order} ({one.full:.3f} bits a {unit} with all of the text)"
