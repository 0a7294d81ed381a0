"""From logits to the distribution that is drawn from: a table of pure functions.

Each takes log-likelihoods (V,) relative to the likeliest token, whose own is 0, and returns new
ones; what it removes becomes -inf. They are applied in the order of `FILTERS`, and skipped where
their setting changes nothing. Shape letter: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from chargen.sampling.config import SampleConfig
from chargen.sampling.stepper import Array

RECENT = 64
"""How many of the last tokens the repetition penalty looks at."""
_COLDEST = 1e-6
"""Temperatures below this are greedy: float32 could not tell the difference."""


def repetition(relative: Array, recent: Sequence[int], penalty: float) -> Array:
    """Multiply the log-probabilities of recent tokens by `penalty` (after Keskar et al., 2019).

    On log-probabilities, which are never positive, so that a constant added to all logits
    changes nothing.

    Args:
        relative: (V,).
        recent: ids of the last tokens.
        penalty: above 1 makes them less likely.
    """
    tokens = np.fromiter(set(recent), np.int64)
    result = relative - np.log(np.exp(relative).sum())
    result[tokens] *= np.float32(penalty)
    return cast(Array, result - result.max())


def temperature(relative: Array, value: float) -> Array:
    """Divide by the temperature; 0 keeps the likeliest token alone (the first of equals)."""
    if value < _COLDEST:
        return _keep(relative, np.argmax(relative))
    return np.multiply(relative, np.float32(1 / value))


def top_k(relative: Array, k: int) -> Array:
    """Keep the k likeliest tokens (Fan et al., 2018)."""
    return _keep(relative, np.argsort(-relative, kind="stable")[:k])


def top_p(relative: Array, p: float) -> Array:
    """Keep the fewest likeliest tokens that reach probability p (Holtzman et al., 2020)."""
    order = np.argsort(-relative, kind="stable")
    reached = np.cumsum(np.exp(relative[order], dtype=np.float64))
    return _keep(relative, order[: 1 + np.searchsorted(reached, p * reached[-1])])


def min_p(relative: Array, share: float) -> Array:
    """Keep tokens at least this share as likely as the likeliest (Nguyen et al., 2024)."""
    return np.where(relative >= np.log(share), relative, np.float32(-np.inf))


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A row of `FILTERS`: `apply(relative, recent, config)`, where `active(config)`."""

    active: Callable[[SampleConfig], bool]
    apply: Callable[[Array, Sequence[int], SampleConfig], Array]


FILTERS: dict[str, Filter] = {
    "repetition_penalty": Filter(
        active=lambda c: c.repetition_penalty != 1,
        apply=lambda x, recent, c: repetition(x, recent, c.repetition_penalty),
    ),
    "temperature": Filter(
        active=lambda c: c.temperature != 1, apply=lambda x, _, c: temperature(x, c.temperature)
    ),
    "top_k": Filter(active=lambda c: c.top_k > 0, apply=lambda x, _, c: top_k(x, c.top_k)),
    "top_p": Filter(active=lambda c: c.top_p < 1, apply=lambda x, _, c: top_p(x, c.top_p)),
    "min_p": Filter(active=lambda c: c.min_p > 0, apply=lambda x, _, c: min_p(x, c.min_p)),
}


def active_filters(config: SampleConfig) -> list[Filter]:
    """The rows that change something under this config, in order."""
    return [row for row in FILTERS.values() if row.active(config)]


def draw(relative: Array, uniform: float) -> int:
    """A token drawn from (V,) by inversion of the cumulative distribution.

    Args:
        relative: as from a filter; -inf is never drawn.
        uniform: a random number in [0, 1).
    """
    likelihoods = np.exp(relative)
    cumulative = np.add.accumulate(likelihoods, dtype=np.float64)
    total = cumulative[-1]
    token = int(cumulative.searchsorted(uniform * total, "right"))
    if token >= len(likelihoods) or likelihoods[token] == 0:
        # Rounding pushed the draw past the last possible token: the first to reach the total.
        token = int(cumulative.searchsorted(total))
    return token


def _keep(relative: Array, chosen: npt.NDArray[np.integer] | np.integer) -> Array:
    result = np.full_like(relative, -np.inf)
    result[chosen] = relative[chosen]
    return result
