"""Figure: curves and points with their axes and ticks, ready to be drawn.

This file knows no screens and no files. Shape letters: N points.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating[Any]]
_MAX_NUMBER = 1e100
"""Larger numbers do not widen an axis."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve, or one cloud of points."""

    name: str
    """Not yet safe to show: it may come from a file or a model."""
    x: Numbers = field(repr=False)
    """(N,)"""
    y: Numbers = field(repr=False)
    """(N,); NaN where there is no value."""
    labels: tuple[str, ...] = ()
    """A name for each point, shown on hover; or none."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Series over the same two axes."""

    series: tuple[Series, ...]
    x_label: str
    y_label: str
    title: str = ""
    log_x: bool = False
    log_y: bool = False
    """Logarithmic axes; numbers without a logarithm are left out."""
    points: bool = False
    """Single points; otherwise neighbours are joined by lines."""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    """Limits of the axes; None takes those of the numbers."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Plots side by side."""

    title: str
    plots: tuple[Plot, ...]
    notes: tuple[str, ...] = ()
    """Sentences that say what the figure shows."""


@dataclass(frozen=True)
class Axis:
    """Maps numbers to positions from 0 to 1."""

    low: float
    high: float
    log: bool

    def positions(self, values: Numbers) -> Numbers:
        """The positions of values (N,) on the axis; NaN for values outside of it."""
        low, high = np.log10([self.low, self.high]) if self.log else (self.low, self.high)
        with np.errstate(all="ignore"):
            scaled = np.log10(values) if self.log else np.asarray(values, np.float64)
            positions = (scaled - low) / (high - low)
        inside = np.isfinite(positions) & (positions >= -1e-9) & (positions <= 1 + 1e-9)
        return np.where(inside, positions, np.nan)

    def ticks(self, count: int) -> list[float]:
        """About `count` round numbers along the axis."""
        if self.log:
            first, last = np.ceil(np.log10(self.low) - 1e-9), np.floor(np.log10(self.high) + 1e-9)
            if last - first >= 1:
                step = max(1, round((last - first) / max(1, count - 1)))
                return [float(10.0**power) for power in np.arange(first, last + 1, step)]
        rough = (self.high - self.low) / max(1, count)
        scale = 10.0 ** np.floor(np.log10(rough))
        factor = next(factor for factor in (1, 2, 5, 10) if factor * scale >= rough * (1 - 1e-9))
        step = scale * factor
        first = np.ceil(self.low / step - 1e-9)
        return [float(number * step) for number in np.arange(first, self.high / step + 1e-9)]


def axes_of(plot: Plot) -> tuple[Axis, Axis]:
    """The horizontal and the vertical axis of a plot."""
    return (
        _axis([series.x for series in plot.series], plot.x_range, plot.log_x),
        _axis([series.y for series in plot.series], plot.y_range, plot.log_y),
    )


def _axis(values: list[Numbers], limits: tuple[float, float] | None, log: bool) -> Axis:
    if limits is not None:
        return Axis(*limits, log)
    numbers = np.concatenate([np.empty(0), *values])
    numbers = numbers[(np.abs(numbers) < _MAX_NUMBER) & ((numbers > 1 / _MAX_NUMBER) | (not log))]
    if not numbers.size:
        return Axis(0.1, 1.0, log) if log else Axis(0.0, 1.0, log)
    low, high = float(numbers.min()), float(numbers.max())
    if log:
        return Axis(low, high, True) if high > low * 1.01 else Axis(low / 2, low * 2, True)
    if high - low <= 1e-9 * max(1.0, abs(high)):
        room = 0.5 * max(1.0, abs(high))
        return Axis(low - room, low + room, False)
    return Axis(low, high, False)


def tick_text(value: float) -> str:
    """A number as it is written beside an axis."""
    if value == 0:
        return "0"
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.0e}".replace("e-0", "e-")
