"""From logits to the distribution that is drawn from: a table of pure functions.

Each takes log-probabilities (..., V) and returns new ones, not necessarily normalised; what it
removes becomes -inf. They are applied in the order of `FILTERS`, and skipped where their setting
changes nothing.
Shape letter: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chargen.sampling.config import SampleConfig
from chargen.sampling.stepper import Array

RECENT = 64
"""How many of the last tokens the repetition penalty looks at."""
_COLDEST = 1e-6
"""Temperatures below this are greedy: float32 could not tell the difference."""


def repetition(logprobs: Array, recent: npt.NDArray[np.integer], penalty: float) -> Array:
    """Multiply the log-probabilities of recent tokens by `penalty` (after Keskar et al., 2019).

    On log-probabilities, which are never positive, so that a constant added to all logits
    changes nothing.

    Args:
        logprobs: (..., V).
        recent: (..., R) ids.
        penalty: above 1 makes them less likely.
    """
    result = logprobs.copy()
    if recent.shape[-1]:
        chosen = np.take_along_axis(logprobs, recent, -1) * np.float32(penalty)
        np.put_along_axis(result, recent, chosen, -1)
    return result


def temperature(logprobs: Array, value: float) -> Array:
    """Divide by the temperature; 0 keeps the likeliest token alone (the first of equals)."""
    if value < _COLDEST:
        return _keep(logprobs, np.argmax(logprobs, -1)[..., None])
    shifted: Array = logprobs - np.maximum.reduce(logprobs, -1, keepdims=True)
    return np.multiply(shifted, np.float32(1 / value), shifted)


def top_k(logprobs: Array, k: int) -> Array:
    """Keep the k likeliest tokens (Fan et al., 2018)."""
    return _keep(logprobs, np.argsort(-logprobs, -1, kind="stable")[..., :k])


def top_p(logprobs: Array, p: float) -> Array:
    """Keep the fewest likeliest tokens that reach probability p (Holtzman et al., 2020)."""
    order = np.argsort(-logprobs, -1, kind="stable")
    sorted_probabilities = np.exp(np.take_along_axis(logprobs, order, -1).astype(np.float64))
    before = np.cumsum(sorted_probabilities, -1) - sorted_probabilities
    total = sorted_probabilities.sum(-1, keepdims=True)
    kept = before < p * total
    kept[..., 0] = True
    result = np.full_like(logprobs, -np.inf)
    values = np.where(kept, np.take_along_axis(logprobs, order, -1), np.float32(-np.inf))
    np.put_along_axis(result, order, values, -1)
    return result


def min_p(logprobs: Array, share: float) -> Array:
    """Keep tokens at least this share as likely as the likeliest (Nguyen et al., 2024)."""
    floor = logprobs.max(-1, keepdims=True) + np.log(share)
    return np.where(logprobs >= floor, logprobs, np.float32(-np.inf))


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A row of `FILTERS`: `apply(logprobs, recent, config)`, where `active(config)`."""

    active: Callable[[SampleConfig], bool]
    apply: Callable[[Array, npt.NDArray[np.integer], SampleConfig], Array]


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


def draw(logprobs: Array, uniform: float) -> int:
    """A token drawn from (V,) by inversion of the cumulative distribution.

    Args:
        logprobs: not necessarily normalised; -inf is never drawn.
        uniform: a random number in [0, 1).
    """
    probabilities = np.exp(logprobs - np.maximum.reduce(logprobs))
    cumulative = np.add.accumulate(probabilities, dtype=np.float64)
    total = cumulative[-1]
    # The first place that reaches the total is the last that can be drawn: rounding of the
    # product must not push a draw past it.
    token = cumulative.searchsorted(uniform * total, "right")
    return int(min(token, cumulative.searchsorted(total)))


def _keep(logprobs: Array, chosen: npt.NDArray[np.integer]) -> Array:
    result = np.full_like(logprobs, -np.inf)
    np.put_along_axis(result, chosen, np.take_along_axis(logprobs, chosen, -1), -1)
    return result
